"""Commands within what a policy was trained on: `command_ranges` of `policy.json`. Outside of it nobody knows what it does."""

import logging
from collections.abc import Mapping

from ..policy.metadata import CommandRange

logger = logging.getLogger("protege.deploy")


class Ranges:
    """Clamps commands, and says so once for each kind of command.

    Args:
        ranges: by kind, a key of `metadata.RANGE_UNITS`. What has no range is left as it is.
    """

    def __init__(self, ranges: Mapping[str, CommandRange] | None = None) -> None:
        self._ranges, self._said = dict(ranges or {}), set[str]()

    def clamp(self, kind: str, value: float) -> float:
        """The value, or the nearest one that the policy was trained on."""
        trained = self._ranges.get(kind)
        clamped = value if trained is None else trained.clamp(value)
        if clamped != value:
            self._warn(kind, value, f"{clamped:g} instead")
        return clamped

    def reach(self, kind: str, distance: float) -> float:
        """How far ahead a point may be shown, m, for one that is so far away; infinity if no range is known.

        A point that is nearer than the training's is left where it is: the robot passes there on its way to every other.
        """
        trained = self._ranges.get(kind)
        reach = float("inf") if trained is None else trained.high
        if distance > reach:
            self._warn(kind, distance, f"it is shown {reach:g} m ahead")
        return reach

    def _warn(self, kind: str, value: float, instead: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            trained, words = self._ranges[kind], "%s of %.3g %s is beyond the training's %g to %g: %s"
            logger.warning(words, kind.replace("_", " "), value, trained.unit, trained.low, trained.high, instead)


UNLIMITED = Ranges()
"""Of a policy that does not say what it was trained on."""
