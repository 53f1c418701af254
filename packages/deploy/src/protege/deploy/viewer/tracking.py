"""How well the present command is obeyed, step by step, by what the policy was told and the robot did."""

from collections import deque

import numpy as np

from ..commands.measured import STRIDE
from ..commands.registry import KINDS
from ..interface import Array, Command
from ..loop.loop import Step
from ..policy.metadata import Metadata

UNITS = {"motion": "m", **{name: kind.unit for name, kind in KINDS.items()}}


class Tracking:
    """The error of the motion that is commanded, or else of the first of `KINDS` that is.

    What was to be reached so many steps ahead is compared when that time has come: the first of a motion's target poses, and what
    `OrderKind.error` says.

    Args:
        metadata: of the policy.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata, self._ahead = metadata, next(iter(metadata.future_frames), 1)
        longest = max(self._ahead, round(max(STRIDE, *metadata.path_times[:1]) / metadata.control_dt))
        self._past: deque[tuple[Command, Array]] = deque(maxlen=1 + longest)

    def forget(self) -> None:
        """Another command, or another place, begins."""
        self._past.clear()

    def __call__(self, step: Step, body_pos_w: Array) -> tuple[str, float]:
        """What is measured and the error, NaN while too little is known.

        Args:
            step: of the loop.
            body_pos_w: (B, 3) m, where the bodies were at its beginning.
        """
        if step.command is None:
            return "", np.nan
        self._past.append((step.command, step.reading.root_pos_w[:2]))
        if step.command.target_body_pos_w is not None:
            return "motion", self._off_pose(step.command, body_pos_w)
        errors = ((name, kind.error(self._past, self._metadata)) for name, kind in KINDS.items())
        return next(((name, error) for name, error in errors if error is not None), ("", np.nan))

    def _off_pose(self, command: Command, body_pos_w: Array) -> float:
        """Mean distance of the bodies that count from where they were to be by now, m."""
        told = self._past[-1 - self._ahead][0].target_body_pos_w if len(self._past) > self._ahead else None
        if told is None:
            return np.nan
        shown = np.ones(len(body_pos_w), bool) if command.pose_mask is None else command.pose_mask[0]
        return float(np.linalg.norm(body_pos_w[shown] - told[0][shown], axis=-1).mean())
