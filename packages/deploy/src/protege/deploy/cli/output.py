"""What the commands have in common: numbers that are finite, files that are whole, JSON without NaN, memory."""

import json
import math
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..errors import DeployError


class Finite(click.FloatRange):
    """A number that is one: Python reads `nan` and `inf` as floats too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Printing(click.Group):
    """A group whose commands print any text wherever they are run: a question mark for what the terminal's encoding lacks."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")
        return super().main(*args, **kwargs)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Whole or not at all.

    Raises:
        DeployError: the file cannot be written.
    """
    try:
        replace_whole(path, write)
    except OSError as error:
        raise DeployError(f"cannot write {path} ({error.strerror})", "Choose another path") from error


def replace_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """`write_whole`, for who has an answer to a full disk.

    Raises:
        OSError: the file cannot be written; nothing of it is left.
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
    """Now, and not after a run that was for nothing, whether a file can be written there.

    Raises:
        DeployError: it cannot.
    """
    probe = path.with_name(f".{path.name}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
    except OSError as error:
        raise DeployError(f"cannot write {path} ({error.strerror})", "Choose another path") from error
    finally:
        with suppress(OSError):
            probe.unlink()


def as_json(result: Any) -> str:
    """As JSON, which has no NaN: null stands for it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(result), indent=2, allow_nan=False)


def resident_mb() -> float | None:
    """Memory of this process that is in RAM, MB; None where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
