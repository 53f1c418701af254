"""Tracking error of the present command in each step: the command against the measured motion."""

from collections import deque

import numpy as np

from ..commands.measured import STRIDE_SECONDS
from ..commands.registry import KINDS
from ..geometry import Array
from ..interface import Command
from ..loop.loop import Step
from ..policy.metadata import Metadata

ERROR_UNITS = {"motion": "m", **{name: kind.unit for name, kind in KINDS.items()}}


class Tracking:
    """The error of the commanded motion, or else of the first commanded modality of `KINDS`.

    A target some steps ahead is compared with the robot when that step has come. This holds for the first target pose of a motion
    and for `OrderKind.error`.

    Args:
        metadata: of the policy.
    """

    def __init__(self, metadata: Metadata) -> None:
        self._metadata, self._ahead = metadata, next(iter(metadata.future_frames), 1)
        longest = max(self._ahead, round(max(STRIDE_SECONDS, *metadata.path_times[:1]) / metadata.control_dt))
        self._past: deque[tuple[Command, Array]] = deque(maxlen=1 + longest)

    def forget(self) -> None:
        """Drop the past commands: a new command begins, or the robot was moved."""
        self._past.clear()

    def __call__(self, step: Step, body_pos_w: Array) -> tuple[str, float]:
        """The name of the modality and its error, NaN while its target lies further back than the known past.

        Args:
            step: of the loop.
            body_pos_w: (B, 3) m, body positions at the step's start.
        """
        if step.command is None:
            return "", np.nan
        self._past.append((step.command, step.reading.measured_root_pos_w[:2]))
        if step.command.target_body_pos_w is not None:
            return "motion", self._off_pose(step.command, body_pos_w)
        errors = ((name, kind.error(self._past, self._metadata)) for name, kind in KINDS.items())
        return next(((name, error) for name, error in errors if error is not None), ("", np.nan))

    def _off_pose(self, command: Command, body_pos_w: Array) -> float:
        """Mean distance of the commanded bodies from their target positions of this step, m."""
        past = self._past[-1 - self._ahead][0].target_body_pos_w if len(self._past) > self._ahead else None
        if past is None:
            return np.nan
        shown = np.ones(len(body_pos_w), bool) if command.pose_mask is None else command.pose_mask[0]
        return float(np.linalg.norm(body_pos_w[shown] - past[0][shown], axis=-1).mean())
