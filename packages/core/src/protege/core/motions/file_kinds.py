"""Recognises the kind of a file that is not a motion clip, by its first bytes and its name.

Only the standard library is used, because `protege.deploy` shares this file (see docs/architecture.md).
"""

from collections.abc import Callable
from pathlib import PurePath
from typing import NamedTuple

SNIFFED = 4096
"""Number of bytes at the start of a file by which its kind is recognised."""

CONVERT = "Clips are .npy files; docs/clips.md shows how to write one from your own arrays"
IMPORT = "If it is a motion, import it: protege sim motions import FILE --robot NAME. Otherwise: docs/clips.md"
UNPACK = "Unpack it, and give the .npy files in it"
AGAIN = "Download or copy it again"


class FileKind(NamedTuple):
    """A kind of file: its description, and how to use such a file."""

    words: str
    remedy: str


NPY = b"\x93NUMPY"
TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"

MAGIC: tuple[tuple[bytes, FileKind], ...] = (
    (b"version https://git-lfs", FileKind("a git-LFS pointer, not the file that it stands for", "Fetch it: git lfs pull")),
    (TORCH_LEGACY, FileKind("a file of torch.save", IMPORT)),
    (b"\x1f\x8b", FileKind("compressed with gzip", "Unpack it: gunzip FILE, or tar xf FILE")),
    (b"BZh", FileKind("compressed with bzip2", "Unpack it: bunzip2 FILE, or tar xf FILE")),
    (b"\xfd7zXZ", FileKind("compressed with xz", "Unpack it: unxz FILE, or tar xf FILE")),
    (b"\x28\xb5\x2f\xfd", FileKind("compressed with zstd", "Unpack it: unzstd FILE")),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7z archive", UNPACK)),
    (b"\x89HDF\r\n", FileKind("an HDF5 file", CONVERT)),
    (b"Kaydara FBX", FileKind("an FBX file", CONVERT)),
    (b"HIERARCHY", FileKind("a BVH motion", IMPORT)),
)  # fmt: skip
TAR_MAGIC, TAR_MAGIC_AT = b"ustar", 257
ZIP_NAME_AT = 30
"""Offset of the name of a zip archive's first member."""


def file_kind(first: bytes, name: str) -> FileKind:
    """The kind of a file that was given as a clip.

    Args:
        first: its first `SNIFFED` bytes, or the whole file.
        name: the file's name, whose suffix is a hint.
    """
    if not first:
        return FileKind("empty", AGAIN)
    if first.startswith(NPY):
        return _npy(first)
    stripped = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    for magic, kind in MAGIC:
        if first.startswith(magic) or stripped.startswith(magic):
            return kind
    if first.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip(first, name)
    if first[TAR_MAGIC_AT : TAR_MAGIC_AT + 5] == TAR_MAGIC:
        return FileKind("a tar archive", "Unpack it: tar xf FILE")
    if first[0] == 0x80 and len(first) > 1 and first[1] in range(2, 6):
        return FileKind("a Python pickle", IMPORT)
    return _text(first, PurePath(name).suffix.lower()) or FileKind("of an unknown format", CONVERT)


def _npy(first: bytes) -> FileKind:
    """A NumPy file that could not be read as a clip."""
    header = first[:400]
    if b"|O" not in header:
        return FileKind("a .npy file that is damaged or cut short", AGAIN)
    poselib = b"OrderedDict" in first and b"rotation" in first
    words = "a pickled poselib SkeletonMotion (ProtoMotions 1)" if poselib else "a .npy file of pickled Python objects"
    return FileKind(words, IMPORT)


def _zip(first: bytes, name: str) -> FileKind:
    member = first[ZIP_NAME_AT : ZIP_NAME_AT + 200].split(b"\x00")[0]
    if b"data.pkl" in member or b".format_version" in member:
        return FileKind("a file of torch.save", IMPORT)
    if name.lower().endswith(".npz"):
        return FileKind("a .npz archive of several arrays", IMPORT)
    return FileKind("a zip archive", UNPACK)


def _text(first: bytes, suffix: str) -> FileKind | None:
    """The kind of a text file; None if it is not text."""
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        return FileKind("text in UTF-16", IMPORT)
    text = first.decode("utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    odd = sum(not (c.isprintable() or c in "\t\r\n") for c in text) + first.count(b"\x00")
    if not text or odd or len(text.encode()) < 0.9 * len(first.strip()):
        return None
    start = text[:200].lower()
    line = text.splitlines()[0]
    tests: tuple[tuple[Callable[[], bool], FileKind], ...] = (
        (lambda: start.startswith(("<!doctype html", "<html")), FileKind("a web page: a download that failed", AGAIN)),
        (lambda: text.startswith("<"), FileKind("XML", CONVERT)),
        (lambda: text.startswith(("{", "[")), FileKind("JSON text", IMPORT)),
        (lambda: suffix in (".csv", ".tsv") or line.count(",") > 2, FileKind("a table of text (CSV)", IMPORT)),
    )
    return next((kind for holds, kind in tests if holds()), FileKind("text", IMPORT))
