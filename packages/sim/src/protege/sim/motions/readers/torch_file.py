"""Files of torch.save: a zip archive of a pickle and its tensors' memory, read without torch and without running any code."""

import io
import zlib
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from protege.core.errors import UserError

from .limits import MAX_BYTES
from .pickled_arrays import BadPickleError
from .unpickle import Storage, unpickle

DTYPES = {"Float": "<f4", "Double": "<f8", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "i1",
          "Byte": "u1", "Bool": "?"}  # fmt: skip
"""By the kind of storage, as in torch.FloatStorage."""
ARCHIVE_ERRORS = (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, KeyError)
COPY_REMEDY = "Download or copy it again"


def is_torch_file(members: list[str]) -> bool:
    """Whether an archive with these members is one of torch.save."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in members)


def read_torch(contents: bytes, file: str) -> Any:
    """The saved data: dicts, lists, numbers, texts, and a numpy array for each tensor.

    Args:
        contents: of the file.
        file: name of the file for messages.

    Raises:
        UserError: it is damaged, or contains more than plain data and tensors.
    """
    try:
        with ZipFile(io.BytesIO(contents)) as archive:
            members = archive.namelist()
            folder = next(name for name in members if name.endswith("/data.pkl")).removesuffix("data.pkl")
            if f"{folder}byteorder" in members and _member(archive, f"{folder}byteorder").strip() != b"little":
                raise UserError(f"{file} was saved by a machine with another byte order", "Save it again on this one")
            whole: dict[str, np.ndarray] = {}

            def tensors(storage: Storage) -> np.ndarray:
                kind = storage.kind.removeprefix("torch.").removesuffix("Storage")
                if kind not in DTYPES:
                    raise BadPickleError(f"holds a tensor of {storage.kind[:40]!a}")
                if storage.key not in whole:
                    data = _member(archive, f"{folder}data/{storage.key}")
                    dtype = np.dtype(DTYPES[kind])
                    whole[storage.key] = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
                if whole[storage.key].size < storage.count:
                    raise BadPickleError("holds a tensor that is cut short")
                return whole[storage.key]

            return unpickle(_member(archive, f"{folder}data.pkl"), file, tensors)
    except ARCHIVE_ERRORS as error:
        raise UserError(
            f"{file} is a torch file that is damaged or cut short ({str(error)[:80]})", COPY_REMEDY
        ) from error


def _member(archive: ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.file_size > MAX_BYTES:
        raise BadZipFile(f"{name[:60]} is larger than {MAX_BYTES >> 20} MB")
    with archive.open(info) as file:
        data = file.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise BadZipFile(f"{name[:60]} is cut short")
    return data
