"""Finds motions: in files, folders and archives. Names from an archive are never used to write files."""

import re
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO
from zipfile import BadZipFile, ZipFile, is_zipfile

from protege.core.errors import UserError
from protege.core.motions.file_kinds import NPY, SNIFFED
from protege.core.names import MAX_LENGTH, checked_name

from .readers import READERS, Reader
from .readers.limits import MAX_BYTES
from .readers.torch_file import is_torch_file

ARCHIVE_SUFFIXES = (".zip", ".whl")
MOTION_SUFFIXES = (".npy", ".npz", ".pkl", ".pickle", ".joblib", ".pt", ".pth", ".motion", ".bvh", ".csv")
"""Suffixes of files in folders and archives that are read, besides names that match a format's pattern: humanoid3d_walk.txt."""
ARCHIVE_ERRORS = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
"""Exceptions of zipfile for archives that are truncated, damaged, encrypted, or packed in an unknown way."""
SOURCE_REMEDY = "Give a motion file, a folder, or a zip archive or wheel of them"


@dataclass(frozen=True)
class Found:
    """A file that may contain motions.

    Attributes:
        file: its name for messages.
        name: name of its motion, if the file does not contain one.
        given: whether the user named this file: it is then an error if it contains no motion.
        read: returns its contents.
    """

    file: str
    name: str
    given: bool
    read: Callable[[], bytes]

    @property
    def is_clip(self) -> bool:
        """Whether it is a clip already. In a folder, clips are skipped."""
        first = self.read()[:SNIFFED]
        return first.startswith(NPY) and b"root_pos_w" in first


def find_sources(sources: Sequence[str | Path], names: Sequence[str], reader: Reader | None = None) -> list[Found]:
    """The files of sources, in their order; those of a folder are sorted by path.

    Args:
        sources: files, folders, and zip archives or wheels.
        names: motions of folders and archives to read, all if empty; or a name for the motion of the only file.
        reader: of a format with its own pattern of file names: other files in archives are skipped.

    Raises:
        UserError: a source cannot be read, or a name is missing or is not a file name.
    """
    for name in names:
        checked_name(name, "--name")
    found: list[Found] = []
    for source in map(Path, sources):
        # zipfile reads its input to the end, which a device does not have.
        if source.exists() and not source.is_file() and not source.is_dir():
            raise UserError(f"{source} is not a file", SOURCE_REMEDY)
        if source.is_dir():
            inside = [path for path in sorted(source.rglob("*")) if path.is_file() and not path.name.startswith(".")]
            files = [
                _file(path, _name(path.name, reader), given=False) for path in inside if _is_wanted(path.name, reader)
            ]
            found += [file for file in files if not names or slug(file.name) in names]
        elif _is_archive(source):
            found += _members(source, names, reader)
        else:
            if names and len(sources) > 1:
                raise UserError("several files cannot all be called by --name", "Import them one by one, or without it")
            found.append(_file(source, names[0] if names else _name(source.name, reader), given=True))
    taken = {slug(file.name) for file in found}
    if missing := [name for name in names if name not in taken]:
        wanted = reader.file_name.format(name=missing[0]) if reader else f"motion {missing[0]!r}"
        raise UserError(f"no {wanted} in {', '.join(map(str, sources))}", "Without --name all are taken")
    return found


def slug(name: str) -> str:
    """A file name for a motion's name: ASCII letters, digits and `._-`; other characters become `_`, accents are dropped."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", plain).strip("._-")[:MAX_LENGTH]
    return plain or f"motion_{zlib.crc32(name.encode('utf-8', 'replace')):08x}"


def _name(path: str, reader: Reader | None) -> str:
    """The name of the motion in a file at this path: without its suffix, or by the format's pattern."""
    for one in [reader] if reader else READERS.values():
        if one.file_name != "{name}" and (name := _matched(path, one)):
            return name
    return Path(PureWindowsPath(path).name).stem


def _matched(path: str, reader: Reader) -> str | None:
    before, after = reader.file_name.split("{name}")
    # Windows' paths too: some archives are packed with backslashes.
    found = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}", PureWindowsPath(path).name)
    return found[1] if found else None


def _is_wanted(path: str, reader: Reader | None) -> bool:
    """Whether a file in a folder or archive is read."""
    if reader and reader.file_name != "{name}":
        return _matched(path, reader) is not None
    named = any(one.file_name != "{name}" and _matched(path, one) for one in READERS.values())
    return named or PureWindowsPath(path).suffix.lower() in MOTION_SUFFIXES


def _is_archive(path: Path) -> bool:
    """Whether a file is an archive of files, and not of arrays or of torch."""
    if path.suffix.lower() in ARCHIVE_SUFFIXES:
        return True
    if path.suffix.lower() in MOTION_SUFFIXES or not is_zipfile(path):
        return False
    try:
        with ZipFile(path) as archive:
            members = archive.namelist()
    except ARCHIVE_ERRORS as error:
        raise _unreadable(path, error) from error
    return not is_torch_file(members) and not all(name.endswith(".npy") and "/" not in name for name in members)


def _file(path: Path, name: str, *, given: bool) -> Found:
    def read() -> bytes:
        try:
            with path.open("rb") as file:
                return _contents(file, str(path))
        except OSError as error:
            raise _unreadable(path, error) from error

    return Found(str(path), name, given, read)


def _members(archive: Path, names: Sequence[str], reader: Reader | None) -> Iterator[Found]:
    try:
        with ZipFile(archive) as opened:
            members = [name for name in opened.namelist() if not name.endswith("/") and not _is_hidden(name)]
    except ARCHIVE_ERRORS as error:
        raise _unreadable(archive, error) from error
    files = [name for name in members if _is_wanted(name, reader)]
    if not files and not names:
        wanted = reader.file_name.format(name="*") if reader else "motions"
        raise UserError(f"{archive} holds no {wanted}", "Give an archive of motions")

    def reading(member: str) -> Callable[[], bytes]:
        def read() -> bytes:
            try:
                with ZipFile(archive) as opened, opened.open(member) as file:
                    return _contents(file, f"{member} in {archive}")
            except ARCHIVE_ERRORS as error:
                raise _unreadable(archive, error) from error

        return read

    for member in files:
        name = _name(member, reader)
        if not names or slug(name) in names:
            yield Found(f"{member} in {archive}", name, False, reading(member))


def _is_hidden(member: str) -> bool:
    """Whether a member of an archive was added by macOS, `__MACOSX/...`."""
    return PureWindowsPath(member).parts[:1] == ("__MACOSX",)


def _contents(file: IO[bytes], name: str) -> bytes:
    contents = file.read(MAX_BYTES + 1)
    if len(contents) > MAX_BYTES:
        raise UserError(f"{name} is larger than {MAX_BYTES >> 20} MB", "Give fewer motions a file")
    return contents


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else f"not a whole archive: {error}"
    return UserError(f"cannot read {path} ({reason})", SOURCE_REMEDY)
