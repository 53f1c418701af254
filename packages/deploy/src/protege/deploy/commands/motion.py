"""Motions: follow a clip with the whole body, and measure the robot's distance from it."""

from collections.abc import Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..errors import DeployError
from ..geometry import Array, Pose2D, turned_quat
from ..interface import Command, RobotReading
from ..motions.clips import Clip
from ..motions.poses import Poses
from ..policy.metadata import Metadata
from .registry import KINDS

Kinematics = Callable[[Poses], tuple[Array, Array]]
"""Poses at T moments -> body_pos_w (T, B, 3) m and body_quat_w (T, B, 4), bodies as in `Metadata.body_names`."""


@dataclass(frozen=True)
class Motion:
    """The order to follow a clip with all bodies or some of them, beginning where the robot is.

    Attributes:
        clip: a `.npy` file, or the name of one that a package ships.
        bodies: names of those whose poses are commanded; empty: all. The others follow the other modes of the order.
    """

    clip: str
    bodies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = isinstance(self.bodies, Sequence) and all(isinstance(name, str) for name in self.bodies)
        if not isinstance(self.clip, str) or not self.clip or isinstance(self.bodies, str) or not named:
            raise DeployError("a motion has a clip, a text, and bodies, a list of names")
        object.__setattr__(self, "bodies", tuple(self.bodies))


class MotionCommand:
    """Track a clip with the whole body; after its end, hold its last pose.

    Args:
        clip: placed in the world, see `Clip.placed`; sampled once, at multiples of `Metadata.control_dt`.
        kinematics: such as `MujocoRobot.body_poses`.
        metadata: of the policy.
        also: modalities of `KINDS` that are commanded besides the poses, with the values that the clip itself follows. For
            teachers, which were trained with poses and command together.
        bodies: names of those whose poses are commanded; empty: all.
    """

    reads_bodies: ClassVar[bool] = True

    def __init__(
        self,
        clip: Clip,
        kinematics: Kinematics,
        metadata: Metadata,
        also: Collection[str] = (),
        bodies: Collection[str] = (),
    ) -> None:
        self.dt, self._times = metadata.control_dt, metadata.path_times
        self._also = [KINDS[name].of_clip for name in also if name in KINDS]
        self.last = max(1, int(clip.duration / self.dt + 1e-6))
        moments = self.dt * np.arange(self.last + 1)
        poses = clip.at(moments)
        self._root, self._height, self._joint_pos = poses.root_pos_w[:, :2], poses.root_pos_w[:, 2], poses.joint_pos
        self._joint_vel = clip.joint_vel(moments)
        self._body_pos, self._body_quat = kinematics(poses)
        self._ahead = np.array(metadata.future_frames, dtype=int)
        counts = [not bodies or name in bodies for name in metadata.body_names]
        self._mask = None if all(counts) else np.tile(counts, (len(self._ahead), 1))

    def moved(self, start: Pose2D) -> Self:
        """A copy, turned about the world's vertical by the heading of `start`, and then shifted to its point."""
        other = copy(self)
        other._root, other._body_pos = start.to_world(self._root), self._body_pos.copy()
        other._body_pos[..., :2] = start.to_world(self._body_pos[..., :2])
        other._body_quat = turned_quat(self._body_quat, start.yaw)
        return other

    def __call__(self, time: float, reading: RobotReading) -> Command:
        now = self._step(time)
        following = min(now + 1, self.last)
        seen = np.minimum(now + self._ahead, self.last)
        other_fields = (of_clip(self._root, now, self.dt, self._times, reading) for of_clip in self._also)
        return Command(
            target_body_pos_w=self._body_pos[seen],
            target_body_quat_w=self._body_quat[seen],
            pose_mask=self._mask,
            reference_joint_pos=self._joint_pos[following],
            reference_joint_vel=self._joint_vel[following],
            **{name: value for fields in other_fields for name, value in fields.items()},
        )

    def errors(self, time: Array, root_pos_w: Array, body_pos_w: Array | None, /) -> dict[str, float]:
        """Mean distance of the bodies from the clip's, m: its mean over the run and its maximum."""
        steps = np.array([self._step(t) for t in time])
        error = np.linalg.norm(body_pos_w - self._body_pos[steps], axis=-1).mean(axis=1)
        return {"cartesian_err": float(error.mean()), "cartesian_err_max": float(error.max())}

    def height(self, time: float) -> float:
        """Height of the clip's root, m."""
        return float(self._height[self._step(time)])

    def _step(self, time: float) -> int:
        return min(round(time / self.dt), self.last)
