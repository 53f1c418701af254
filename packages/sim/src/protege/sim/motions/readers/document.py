"""A file's contents as plain data: shared by formats with the same container, a pickle, an archive of arrays, or text."""

import io
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from tokenize import TokenError
from typing import Any, Literal
from zipfile import BadZipFile, ZipFile

import numpy as np

from protege.core.errors import UserError
from protege.core.motions.file_kinds import IMPORT, NPY, SNIFFED, file_kind

from ..containers import PICKLE, ZIP, ZLIB, may_be_motion
from .limits import MAX_BYTES
from .torch_file import is_torch_file, read_torch
from .unpickle import unpickle

BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
COPY_REMEDY = "Download or copy it again"
FORMATS_REMEDY = "docs/motion_files.md lists the formats that are read"
"""Instead of advice to import a file that is being imported."""
ARCHIVE_ERRORS = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, TypeError, SyntaxError, TokenError, KeyError,
          OverflowError, MemoryError)  # fmt: skip
"""Exceptions of numpy and zipfile for damaged files."""


@dataclass(frozen=True)
class Document:
    """An opened file.

    Attributes:
        file: name of the file for messages.
        name: name of its motion, if it does not contain one: the file's name without its suffix.
        container: `text`; `pickle` (including numpy files of objects, and joblib's); `torch`; `npz`; `npy`, one plain array.
        data: the text, the object, the arrays by name, or the array.
    """

    file: str
    name: str
    container: Literal["text", "pickle", "torch", "npz", "npy"]
    data: Any

    def has(self, *keys: str) -> bool:
        """Whether the data is a mapping with these keys."""
        return isinstance(self.data, Mapping) and all(key in self.data for key in keys)


def open_document(contents: bytes, file: str, name: str) -> Document:
    """The file's data, from any container.

    Args:
        contents: of the file, complete.
        file: name of the file for messages.
        name: name of its motion.

    Raises:
        UserError: the file is damaged, not a motion, or more than plain data.
    """
    if contents.startswith(ZLIB):
        contents = _inflated(contents, file)
    kind = file_kind(contents[:SNIFFED], file)
    try:
        if contents.startswith(NPY):
            return _npy(contents, file, name)
        if contents.startswith(ZIP):
            with ZipFile(io.BytesIO(contents)) as archive:
                if is_torch_file(archive.namelist()):
                    return Document(file, name, "torch", read_torch(contents, file))
                return Document(file, name, "npz", _npz(archive, file))
    except ARCHIVE_ERRORS as error:
        raise UserError(f"{file} is damaged or cut short ({str(error)[:80]})", COPY_REMEDY) from error
    if contents[:1] == bytes([PICKLE]):
        return Document(file, name, "pickle", unpickle(contents, file))
    if not may_be_motion(contents[:SNIFFED]):
        raise UserError(f"{file} is {kind.words}", FORMATS_REMEDY if kind.remedy == IMPORT else kind.remedy)
    encoding = next((codec for mark, codec in BOMS.items() if contents.startswith(mark)), "utf-8")
    try:
        return Document(file, name, "text", contents.decode(encoding))
    except UnicodeDecodeError:
        return Document(file, name, "text", contents.decode("latin-1"))  # affects only comments and names


def _inflated(contents: bytes, file: str) -> bytes:
    """The contents of a zlib file; joblib writes such files if compression is on."""
    try:
        unpacked = zlib.decompressobj().decompress(contents, MAX_BYTES + 1)
    except zlib.error as error:
        raise UserError(f"{file} is damaged or cut short ({error})", COPY_REMEDY) from error
    if len(unpacked) > MAX_BYTES:
        raise UserError(f"{file} unpacks to more than {MAX_BYTES >> 20} MB", "Give fewer motions a file")
    return unpacked


def _npy(contents: bytes, file: str, name: str) -> Document:
    """One array; for an array of objects, the contents of its pickle."""
    stream = io.BytesIO(contents)
    version = np.lib.format.read_magic(stream)
    header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.names is not None:
        raise UserError(
            f"{file} is a table of records, as clips are", "If it is a clip, give it to --motion-file as it is"
        )
    if dtype.hasobject:
        return Document(file, name, "pickle", unpickle(contents[stream.tell() :], file))
    count = math.prod(shape)
    if len(contents) - stream.tell() < count * dtype.itemsize:  # nothing is allocated by the header alone
        raise ValueError(f"an array of shape {shape} lacks bytes")
    array = np.frombuffer(contents, dtype, count, stream.tell()).reshape(shape, order="F" if fortran else "C")
    return Document(file, name, "npy", array)


def _npz(archive: ZipFile, file: str) -> dict[str, Any]:
    """The arrays of an archive by name; arrays of objects are unpickled."""
    arrays: dict[str, Any] = {}
    infos = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    if not infos:
        raise UserError(f"{file} is a zip archive", "Unpack it, or import it: protege sim motions import FILE")
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise UserError(f"{file} unpacks to more than {MAX_BYTES >> 20} MB", "Give fewer motions a file")
    for info in infos:
        with archive.open(info) as member:
            contents = member.read(info.file_size + 1)
        key = info.filename.removesuffix(".npy")
        arrays[key] = _npy(contents, f"{key} in {file}", key).data
    return arrays
