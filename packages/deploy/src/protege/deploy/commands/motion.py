"""A clip as a command: the poses that the robot should take, and how far it is from them."""

from collections.abc import Callable, Collection
from copy import copy
from typing import ClassVar, Self

import numpy as np

from ..interface import Array, Command, RobotReading
from ..policy.metadata import Metadata
from .clips import Clip, Pose, multiply
from .simple import STRIDE

Kinematics = Callable[[Pose], tuple[Array, Array]]
"""Poses at T moments -> body_pos_w (T, B, 3) m and body_quat_w (T, B, 4), bodies as in `Metadata.body_names`."""


class MotionCommand:
    """Track a clip with the whole body; after its end, hold its last pose.

    Args:
        clip: placed in the world, see `Clip.placed`; sampled once, at multiples of `Metadata.control_dt`.
        kinematics: `MujocoRobot.body_poses`, for instance.
        metadata: of the policy.
        also: of path, goal and steering, what is commanded besides the poses: the clip's own way. For teachers, which were
            trained with poses and command together.
        bodies: names of those whose poses count; empty: all.
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
        self.dt, self.also = metadata.control_dt, also
        self.last = max(1, int(clip.duration / self.dt + 1e-6))
        moments = self.dt * np.arange(self.last + 1)
        poses = clip.at(moments)
        self._root, self._height, self._joint_pos = poses.root_pos_w[:, :2], poses.root_pos_w[:, 2], poses.joint_pos
        self._joint_vel = clip.joint_vel(moments)
        self._body_pos, self._body_quat = kinematics(poses)
        self._ahead = np.array(metadata.future_frames, dtype=int)
        self._path_ahead = np.rint(np.array(metadata.path_times) / self.dt).astype(int)
        counts = [not bodies or name in bodies for name in metadata.body_names]
        self._mask = None if all(counts) else np.tile(counts, (len(self._ahead), 1))

    def moved(self, point: Array, yaw: float) -> Self:
        """The same, turned about the world's vertical by yaw, rad, and then shifted by point, (2,) m."""
        other, cos, sin = copy(self), np.cos(yaw), np.sin(yaw)
        turn = np.array([[cos, sin], [-sin, cos]])
        other._root, other._body_pos = point + self._root @ turn, self._body_pos.copy()
        other._body_pos[..., :2] = point + self._body_pos[..., :2] @ turn
        other._body_quat = multiply(np.array([np.cos(yaw / 2.0), 0.0, 0.0, np.sin(yaw / 2.0)]), self._body_quat)
        return other

    def __call__(self, time: float, reading: RobotReading) -> Command:
        now = self._step(time)
        following = min(now + 1, self.last)
        seen = np.minimum(now + self._ahead, self.last)
        command = Command(
            target_body_pos_w=self._body_pos[seen],
            target_body_quat_w=self._body_quat[seen],
            pose_mask=self._mask,
            reference_joint_pos=self._joint_pos[following],
            reference_joint_vel=self._joint_vel[following],
        )
        if "path" in self.also:
            command.path_w = self._root[np.minimum(now + self._path_ahead, self.last)]
        if "goal" in self.also:
            command.goal_w, command.goal_time_left = self._root[-1], self.dt * (self.last - now)
        if "steering" in self.also:
            command.steering_direction_w, command.steering_speed = self._way(now, reading.yaw)
        return command

    def errors(self, time: Array, root_pos_w: Array, body_pos_w: Array | None, /) -> dict[str, float]:
        """Mean distance of the bodies from the clip's, m: its mean over the run and its maximum."""
        steps = np.array([self._step(t) for t in time])
        error = np.linalg.norm(body_pos_w - self._body_pos[steps], axis=-1).mean(axis=1)
        return {"cartesian_err": float(error.mean()), "cartesian_err_max": float(error.max())}

    def height(self, time: float) -> float:
        """Of the clip's root, m."""
        return float(self._height[self._step(time)])

    def _step(self, time: float) -> int:
        return min(round(time / self.dt), self.last)

    def _way(self, now: int, yaw: float) -> tuple[Array, float]:
        """Where the clip goes in the second to come, or in its last one: (2,) unit vector, m/s."""
        stride = min(round(STRIDE / self.dt), self.last)
        begin = min(now, self.last - stride)
        velocity = (self._root[begin + stride] - self._root[begin]) / (stride * self.dt)
        speed = float(np.linalg.norm(velocity))
        return (velocity / speed if speed > 1e-3 else np.array([np.cos(yaw), np.sin(yaw)])), speed
