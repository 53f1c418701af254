"""Clamps commands to the ranges that a policy was trained on: `command_ranges` of `policy.json`."""

import logging
from collections.abc import Mapping

from ..policy.metadata import CommandRange

logger = logging.getLogger("protege.deploy")


class Ranges:
    """Clamps commands, with one warning for each kind of command.

    Args:
        ranges: by kind, a key of `interface.RANGE_UNITS`. Kinds without a range are not clamped.
    """

    def __init__(self, ranges: Mapping[str, CommandRange] | None = None) -> None:
        self._ranges, self._warned = dict(ranges or {}), set[str]()

    def clamp(self, kind: str, value: float) -> float:
        """The value, clamped to the training's range."""
        trained = self._ranges.get(kind)
        clamped = value if trained is None else trained.clamp(value)
        if clamped != value:
            self._warn(kind, value, f"{clamped:g} instead")
        return clamped

    def reach(self, kind: str, distance: float) -> float:
        """Largest distance of a commanded point, m; infinity if no range is known. Warns if `distance`, m, is larger.

        Nearer points than the training's are not changed, because the robot passes such points on its way to every other.
        """
        trained = self._ranges.get(kind)
        reach = float("inf") if trained is None else trained.high
        if distance > reach:
            self._warn(kind, distance, f"it is shown {reach:g} m ahead")
        return reach

    def _warn(self, kind: str, value: float, instead: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            trained, words = self._ranges[kind], "%s of %.3g %s is beyond the training's %g to %g: %s"
            logger.warning(words, kind.replace("_", " "), value, trained.unit, trained.low, trained.high, instead)


UNLIMITED = Ranges()
"""For a policy without command ranges."""
