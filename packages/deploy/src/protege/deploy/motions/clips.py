"""Reads, checks and places motion clips with numpy alone, for the runtime. docs/clips.md describes the format."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ..errors import DeployError
from ..geometry import Array, Pose2D, multiply, turned, turned_quat, yaw
from ..policy.metadata import Metadata, StartState
from . import plausibility
from .clip_file import read_clip
from .clip_paths import ClipError, find_clip
from .poses import Poses, frames_per_step, interpolate


@dataclass(frozen=True)
class Clip:
    """A motion of T frames.

    Attributes:
        name: the file's stem.
        time: (T,) s, from 0, rising.
        frames: poses at these times.
        rate: Hz; velocities are differences over one period of it, as in the training.
        warnings: of `plausibility.check`.
    """

    name: str
    time: Array
    frames: Poses
    rate: float
    warnings: tuple[plausibility.Finding, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.time[-1])

    def at(self, time: Array) -> Poses:
        """Interpolated poses at times (M,) s since the clip's start, clamped to the clip."""
        return interpolate(self.frames, self.time, time)

    def joint_vel(self, time: Array) -> Array:
        """Joint velocities (M, J) rad/s at times (M,) s: as in training central differences, one-sided at the ends."""
        before, after = (time - 1.0 / self.rate).clip(min=0.0), (time + 1.0 / self.rate).clip(max=self.duration)
        return (self.at(after).joint_pos - self.at(before).joint_pos) / (after - before)[:, None]

    def start(self) -> StartState:
        """The first pose, and the velocities there, world frame."""
        pos, quat, joint_pos = self.at(np.array([0.0, 1.0 / self.rate]))
        turn = multiply(quat[1], quat[0] * [1.0, -1.0, -1.0, -1.0])
        sine = float(np.linalg.norm(turn[1:]))
        angle = 2.0 * np.arctan2(sine, abs(turn[0])) * np.sign(turn[0] or 1.0)
        return StartState(
            root_pos_w=pos[0].tolist(),
            root_quat_w=quat[0].tolist(),
            root_lin_vel_w=(self.rate * (pos[1] - pos[0])).tolist(),
            root_ang_vel_w=(self.rate * angle * turn[1:] / max(sine, 1e-12)).tolist(),
            joint_pos=joint_pos[0].tolist(),
            joint_vel=(self.rate * (joint_pos[1] - joint_pos[0])).tolist(),
        )

    def placed(self, start: Pose2D) -> "Clip":
        """The same motion, beginning at a position and heading on the ground."""
        pos, quat, joint_pos = self.frames
        angle = start.yaw - yaw(quat[0])
        xy = start.point + turned(pos[:, :2] - pos[0, :2], angle)
        return replace(self, frames=Poses(np.column_stack([xy, pos[:, 2]]), turned_quat(quat, angle), joint_pos))


@runtime_checkable
class BodyContact(Protocol):
    """Kinematics with the robot's shapes, such as `MujocoRobot.body_poses`."""

    leg_length: float
    """m, from the root to the lowest point of the robot in its default pose."""

    def contact_points(self, poses: Poses) -> Array:
        """(T, B, 3) m: x and y of each body's origin, and as z the height of its lowest point."""
        ...


def load_clip(path: str | Path, metadata: Metadata, kinematics: object = None) -> Clip:
    """Read and check a clip. A path that is not on disk is looked up by its name among the clips that packages ship.

    Args:
        path: a .npy file, or the name of one. Joints are reordered to the policy's order by their names, if the file has them.
        metadata: of the policy that is to follow it.
        kinematics: a `BodyContact` for plausibility checks; with any other object the clip is not checked.

    Raises:
        DeployError: naming the file and what is wrong with it.
    """
    try:
        motion = read_clip(find_clip(Path(path)), metadata.robot, metadata.joint_names)
    except ClipError as error:
        raise DeployError(error.problem, error.remedy) from error
    quat = motion.root_quat_w / np.linalg.norm(motion.root_quat_w, axis=1, keepdims=True)
    frames = Poses(motion.root_pos_w, quat, motion.joint_pos)
    found = list[plausibility.Finding]()
    if isinstance(kinematics, BodyContact):
        found = plausibility.check(
            motion.time,
            *frames,
            joint_names=metadata.joint_names,
            joint_range=np.asarray(metadata.joint_range),
            leg_length=kinematics.leg_length,
            fps=motion.facts.fps,
            contact_points=lambda: kinematics.contact_points(frames),
        )
    for finding in plausibility.errors(found):
        raise DeployError(f"{path}: {finding.where}", finding.remedy)
    rate = frames_per_step(metadata.control_dt) / metadata.control_dt
    return Clip(Path(path).stem, motion.time - motion.time[0], frames, rate, tuple(plausibility.warnings(found)))
