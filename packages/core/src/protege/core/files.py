"""Atomic file writes."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .errors import UserError


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a temporary file with `write` and rename it to `path`. On failure no file is left behind.

    Raises:
        UserError: the folder is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})", "Choose another folder") from error
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})", "Is the disk full?") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def writable_folder(path: Path) -> Path:
    """Return the folder, created if necessary.

    Raises:
        UserError: it cannot be created or written to.
    """
    write_atomically(path / ".writable", lambda file: file.write(b""))
    (path / ".writable").unlink()
    return path
