"""Motion import: a registry of importers. To add a format, write a file and a line here."""

from collections.abc import Callable

from protege.core.motion import Clip
from protege.core.robot import Robot

from .deepmimic import import_deepmimic

IMPORTERS: dict[str, Callable[[bytes, str, Robot], Clip]] = {"deepmimic": import_deepmimic}
"""Format name -> (file contents, clip name, robot) -> clip."""
