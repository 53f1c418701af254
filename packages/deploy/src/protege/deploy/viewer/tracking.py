"""How well the present command is obeyed, step by step, by what the policy was told and the robot did."""

from collections import deque

import numpy as np

from ..commands.measured import STRIDE
from ..interface import Array
from ..loop.loop import Step
from ..policy.metadata import Metadata

UNITS = {"motion": "m", "path": "m", "steering": "m/s", "goal": "m"}


class Tracking:
    """The error of the first of motion, path, steering and goal that is commanded.

    What was to be reached so many steps ahead is kept and compared when that time has come: a path's first point, the first of a
    motion's target poses. Steering is judged by the velocity over the last second, a goal by how far it is.

    Args:
        metadata: of the policy.
    """

    def __init__(self, metadata: Metadata) -> None:
        dt = metadata.control_dt
        self._points: deque[Array] = deque(maxlen=1 + round(next(iter(metadata.path_times), 0.5) / dt))
        self._poses: deque[Array] = deque(maxlen=1 + next(iter(metadata.future_frames), 1))
        self._roots: deque[Array] = deque(maxlen=1 + round(STRIDE / dt))
        self._dt = dt

    def forget(self) -> None:
        """Another command, or another place, begins."""
        for kept in (self._points, self._poses, self._roots):
            kept.clear()

    def __call__(self, step: Step, body_pos_w: Array) -> tuple[str, float]:
        """What is measured and the error, NaN while too little is known.

        Args:
            step: of the loop.
            body_pos_w: (B, 3) m, where the bodies were at its beginning.
        """
        command, root = step.command, step.reading.root_pos_w[:2]
        if command is None:
            return "", np.nan
        self._roots.append(root)
        if command.target_body_pos_w is not None:
            shown = np.ones(len(body_pos_w), bool) if command.pose_mask is None else command.pose_mask[0]
            self._poses.append(command.target_body_pos_w[0])
            return "motion", self._due(self._poses, body_pos_w[shown], shown)
        if command.path_w is not None:
            self._points.append(command.path_w[0])
            return "path", self._due(self._points, root)
        if command.steering_direction_w is not None and command.steering_speed is not None:
            wanted = command.steering_speed * np.asarray(command.steering_direction_w)
            return "steering", float(np.linalg.norm(self._velocity() - wanted))
        if command.goal_w is not None:
            return "goal", float(np.linalg.norm(root - command.goal_w))
        return "", np.nan

    @staticmethod
    def _due(kept: deque[Array], now: Array, rows: Array | None = None) -> float:
        """Mean distance of what is from what was to be by now."""
        if len(kept) < (kept.maxlen or 0):
            return np.nan
        wanted = kept[0] if rows is None else kept[0][rows]
        return float(np.linalg.norm(now - wanted, axis=-1).mean())

    def _velocity(self) -> Array:
        """Of the root over the last second, (2,) m/s; NaN before there was one."""
        if len(self._roots) < (self._roots.maxlen or 0):
            return np.full(2, np.nan)
        return (self._roots[-1] - self._roots[0]) / (self._dt * (len(self._roots) - 1))
