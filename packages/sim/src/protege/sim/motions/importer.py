"""What an importer is, and where it finds its clips: files, or archives of them."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.robot import Robot

ARCHIVES = (".zip", ".whl")


@dataclass(frozen=True)
class Importer:
    """One motion format.

    Attributes:
        convert: (file contents, clip name, robot) -> clip.
        file_name: of a clip's file, with `{name}` where the clip's name stands.
    """

    convert: Callable[[bytes, str, Robot], Clip]
    file_name: str

    def clip_name(self, path: str) -> str | None:
        """The name of the clip in a file of that path; None if files of this format are not called so."""
        before, after = self.file_name.split("{name}")
        found = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", PurePosixPath(path).name)
        return found[1] if found else None

    def read(self, sources: Sequence[str | Path], names: Sequence[str] = ()) -> dict[str, bytes]:
        """Contents by clip name, in the sources' order.

        Args:
            sources: files, and zip archives or wheels with such files in them.
            names: which clips of archives to take, all if empty; or what to call the clip of the only file.

        Raises:
            UserError: for a source that cannot be read, a name that is not there or is there twice.
        """
        clips: dict[str, bytes] = {}
        for source in map(Path, sources):
            is_archive = source.suffix in ARCHIVES
            for name, contents in self._members(source, names) if is_archive else [self._file(source, sources, names)]:
                if name in clips:
                    raise UserError(
                        f"there are two clips named {name!r}, one in {source}", "Import one after the other"
                    )
                clips[name] = contents
        if missing := [name for name in names if name not in clips]:
            raise UserError(
                f"no {self.file_name.format(name=missing[0])} in {', '.join(map(str, sources))}",
                "Without --name all clips are taken",
            )
        return clips

    def _members(self, archive: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        try:
            with ZipFile(archive) as opened:
                found = {member: self.clip_name(member) for member in opened.namelist()}
                wanted = [(member, name) for member, name in found.items() if name and (not names or name in names)]
                if not wanted and not names:
                    raise UserError(f"{archive} holds no {self.file_name.format(name='*')}", "Give an archive of clips")
                for member, name in wanted:
                    yield name, opened.read(member)
        except (OSError, BadZipFile) as error:
            raise _unreadable(archive, error) from error

    def _file(self, path: Path, sources: Sequence[str | Path], names: Sequence[str]) -> tuple[str, bytes]:
        if names and len(sources) > 1:
            raise UserError("several files cannot all be called by --name", "Import them one by one, or without it")
        try:
            contents = path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error
        return (names[0] if names else self.clip_name(path.name) or path.stem), contents


def _unreadable(path: Path, error: OSError | BadZipFile) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else "not a whole archive"
    return UserError(f"cannot read {path} ({reason})", "Give a file of the format, or a zip archive or wheel of them")
