"""Atomic writing of files, and JSON without NaN."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from .errors import DeployError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """In the block, a failure to write becomes a one-line error.

    Raises:
        DeployError: instead of an OSError, with the path.
    """
    try:
        yield
    except OSError as error:
        raise DeployError(f"cannot write {path} ({error.strerror})", "Choose another path, or make room") from error


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically, through a temporary file beside it.

    Raises:
        OSError: the file cannot be written; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def check_writable(path: Path) -> None:
    """Check before a run that a file can be written.

    Raises:
        DeployError: it cannot.
    """
    probe = path.with_name(f".{path.name}.probe")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()


def write_json(path: Path, result: dict[str, Any]) -> None:
    """Write a report as JSON. JSON has no NaN: null stands for it.

    Raises:
        DeployError: the file cannot be written.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    text = json.dumps(plain(result), indent=2, allow_nan=False)
    with writing(path):
        write_whole(path, lambda file: file.write(text.encode()))
