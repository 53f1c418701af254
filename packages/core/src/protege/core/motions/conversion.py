"""Motion files of other formats, used like clips. Core itself only reads clips.

A package that reads other formats has an entry point of the group `protege.motion_files`, which refers to a `Converter`.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from ..plugins import entry_points
from ..robots.robot import Robot
from .file_kinds import SNIFFED


class Converter(Protocol):
    """Converts motion files of other formats to clips."""

    def accepts(self, first: bytes) -> bool:
        """Whether a file that begins with these bytes may be a motion of another format, and is not a clip."""
        ...

    def robot(self, file: Path) -> str:
        """Name of the robot of a file's motion; empty if the motion fits any robot.

        Raises:
            UserError: the file is not a motion.
        """
        ...

    def clips(self, file: Path, robot: Robot) -> Sequence[Any]:
        """Convert a file to clips (`clip.Clip`) of a robot.

        Raises:
            UserError: the file is invalid, or needs options of the import command, which the error names.
        """
        ...


def converter_for(file: Path) -> Converter | None:
    """The converter of a file; None if it is a clip or of an unknown format."""
    try:
        with file.open("rb") as opened:
            first = opened.read(SNIFFED)
    except OSError:
        return None  # reading it later raises an error with the reason
    return next((converter for converter in _converters() if converter.accepts(first)), None)


@cache
def _converters() -> tuple[Converter, ...]:
    return tuple(entry.load() for entry in entry_points(group="protege.motion_files"))
