"""A clip shown beside the robot, without physics."""

from dataclasses import dataclass

import numpy as np

from ..commands.motion import Kinematics
from ..geometry import Array, Pose2D
from ..motions.clips import Clip

GHOST_OFFSET = 1.0
"""m from the robot's root to the clip's, to the left of the robot's heading when the ghost appears."""


@dataclass(frozen=True, eq=False)
class Ghost:
    """Body poses of a clip, one for each control step.

    Attributes:
        name: of the clip.
        body_pos_w: (T, B, 3) m.
        body_quat_w: (T, B, 4).
        first: the simulation's step that shows the first pose.
    """

    name: str
    body_pos_w: Array
    body_quat_w: Array
    first: int = 0

    def at(self, step: int) -> tuple[Array, Array]:
        """(B, 3) m and (B, 4) at a step of the simulation; after the clip's end its last pose."""
        index = min(max(step - self.first, 0), len(self.body_pos_w) - 1)
        return self.body_pos_w[index], self.body_quat_w[index]


def ghost(clip: Clip, kinematics: Kinematics, here: Pose2D, dt: float) -> Ghost:
    """The ghost of a clip.

    Args:
        clip: of the robot.
        kinematics: the robot's.
        here: position and heading of the robot.
        dt: s, duration of a control step.
    """
    left = GHOST_OFFSET * np.array([-np.sin(here.yaw), np.cos(here.yaw)])
    placed = clip.placed(Pose2D(here.point + left, here.yaw))
    pos, quat = kinematics(placed.at(dt * np.arange(int(clip.duration / dt + 1e-6) + 1)))
    return Ghost(clip.name, pos, quat)
