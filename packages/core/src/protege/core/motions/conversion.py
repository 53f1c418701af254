"""Motion files of other formats, used as if they were clips. Core itself reads clips only.

A package that reads other formats has an entry point of the group `protege.motion_files`, which names a `Converter`.
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

from ..robots.robot import Robot
from .file_kinds import SNIFFED


class Converter(Protocol):
    """Turns motion files of other formats into clips."""

    def accepts(self, first: bytes) -> bool:
        """Whether a file with these first bytes may be a motion of another format, and is no clip."""
        ...

    def robot(self, file: Path) -> str:
        """The name of the robot that a file's motion belongs to; empty if it can be any robot's.

        Raises:
            UserError: it is no motion.
        """
        ...

    def clips(self, file: Path, robot: Robot) -> Sequence[Any]:
        """The clips (`clip.Clip`) that a robot gets from a file.

        Raises:
            UserError: naming what is wrong with it, and the command that imports it with options.
        """
        ...


def converter_for(file: Path) -> Converter | None:
    """The converter of a file; None if it is a clip or of an unknown format."""
    try:
        with file.open("rb") as opened:
            first = opened.read(SNIFFED)
    except OSError:
        return None  # reading it will raise an error that says why
    return next((converter for converter in _converters() if converter.accepts(first)), None)


@cache
def _converters() -> tuple[Converter, ...]:
    return tuple(entry.load() for entry in entry_points(group="protege.motion_files"))
