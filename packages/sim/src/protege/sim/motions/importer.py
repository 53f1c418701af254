"""What an importer is, and where it finds its clips: files, or archives of them."""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import IO
from zipfile import BadZipFile, ZipFile, is_zipfile

from protege.core.errors import UserError
from protege.core.motions import Clip, findings
from protege.core.motions.plausibility import errors
from protege.core.names import checked_name
from protege.core.robots.robot import Robot

ARCHIVES = (".zip", ".whl")
LARGEST, LARGEST_ALL = 64 << 20, 1 << 30
"""Bytes of a clip's file, unpacked, and of all together; DeepMimic's longest has 0.2 MB. More may be made to fill memory."""
BROKEN = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
"""What zipfile raises for archives that are cut, damaged, encrypted, or packed in a way that it does not know."""


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
        # Windows' paths too: some archives are packed with backslashes.
        found = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", PureWindowsPath(path).name)
        return found[1] if found else None

    def read(self, sources: Sequence[str | Path], names: Sequence[str] = ()) -> dict[str, bytes]:
        """Contents by clip name, in the sources' order.

        Args:
            sources: files, and zip archives or wheels with such files in them.
            names: which clips of archives to take, all if empty; or what to call the clip of the only file.

        Raises:
            UserError: for a source that cannot be read or is too large, and for a name that is not there, is there twice, or
                cannot be a file's.
        """
        for name in names:
            checked_name(name, "--name")
        clips: dict[str, bytes] = {}
        for source in map(Path, sources):
            # zipfile reads to the end of what it is given: a device has none.
            if source.exists() and not source.is_file() and not source.is_dir():
                raise UserError(f"{source} is no file", "Give a file of the format, or a zip archive or wheel of them")
            is_archive = source.suffix.lower() in ARCHIVES or is_zipfile(source)
            for name, contents in self._members(source, names) if is_archive else [self._file(source, sources, names)]:
                if name in clips:
                    raise UserError(
                        f"there are two clips named {name!r}, one in {source}", "Import one after the other"
                    )
                clips[checked_name(name, f"the name of a clip in {source}")] = contents
                if sum(map(len, clips.values())) > LARGEST_ALL:
                    raise UserError(
                        f"the clips up to {name!r} in {source} are larger than 1 GB", "Choose some by --name"
                    )
        if missing := [name for name in names if name not in clips]:
            raise UserError(
                f"no {self.file_name.format(name=missing[0])} in {', '.join(map(str, sources))}",
                "Without --name all clips are taken",
            )
        return clips

    def _members(self, archive: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        try:
            with ZipFile(archive) as opened:
                found = {member: self.clip_name(member) for member in opened.namelist() if not _is_hidden(member)}
                wanted = [(member, name) for member, name in found.items() if name and (not names or name in names)]
                if not wanted and not names:
                    raise UserError(f"{archive} holds no {self.file_name.format(name='*')}", "Give an archive of clips")
                for member, name in wanted:
                    with opened.open(member) as file:
                        yield name, _contents(file, f"{member} in {archive}")
        except BROKEN as error:
            raise _unreadable(archive, error) from error

    def _file(self, path: Path, sources: Sequence[str | Path], names: Sequence[str]) -> tuple[str, bytes]:
        if names and len(sources) > 1:
            raise UserError("several files cannot all be called by --name", "Import them one by one, or without it")
        try:
            with path.open("rb") as file:
                contents = _contents(file, str(path))
        except OSError as error:
            raise _unreadable(path, error) from error
        return (names[0] if names else self.clip_name(path.name) or path.stem), contents


def import_all(importer: Importer, contents: Mapping[str, bytes], robot: Robot) -> list[Clip]:
    """The clips of a robot, called `ROBOT_humanoid_NAME`; their `warnings` are those of their sources and of what became of them.

    Raises:
        UserError: no robot could move like one of them.
    """
    clips = []
    for name, content in contents.items():
        clip = importer.convert(content, f"{robot.name}_humanoid_{name}", robot)
        found = findings(clip, robot)
        if wrong := errors(found):
            raise UserError(f"{clip.name}, as it would be written: {wrong[0].where}", wrong[0].remedy)
        clips.append(replace(clip, warnings=(*clip.warnings, *found)))
    return clips


def _is_hidden(member: str) -> bool:
    """Whether a member of an archive is what macOS adds to it, `__MACOSX/...`."""
    return PureWindowsPath(member).parts[:1] == ("__MACOSX",)


def _contents(file: IO[bytes], name: str) -> bytes:
    contents = file.read(LARGEST + 1)
    if len(contents) > LARGEST:
        raise UserError(f"{name} is larger than {LARGEST >> 20} MB", "Give one clip a file")
    return contents


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"not a whole archive: {error}"
    return UserError(f"cannot read {path} ({reason})", "Give a file of the format, or a zip archive or wheel of them")
