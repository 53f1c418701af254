"""Motion files that are no clips, used as if they were: a package that can read them offers so by an entry point.

The group is `protege.motion_files`; its object is a `Converter`. Core itself reads clips alone.
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
        """Whether a file that begins like this may be one of them, and is no clip."""
        ...

    def robot(self, file: Path) -> str:
        """The name of the robot whose motion a file is; empty if it may be any robot's.

        Raises:
            UserError: it is no motion.
        """
        ...

    def clips(self, file: Path, robot: Robot) -> Sequence[Any]:
        """The clips (`clip.Clip`) of a robot that a file becomes.

        Raises:
            UserError: naming what is wrong with it, and how to import it with what it does not say.
        """
        ...


def converter_for(file: Path) -> Converter | None:
    """The converter of a file; None if it is a clip, or nothing that is known here."""
    try:
        with file.open("rb") as opened:
            first = opened.read(SNIFFED)
    except OSError:
        return None  # who reads it says why it cannot be read
    return next((converter for converter in _converters() if converter.accepts(first)), None)


@cache
def _converters() -> tuple[Converter, ...]:
    return tuple(entry.load() for entry in entry_points(group="protege.motion_files"))
