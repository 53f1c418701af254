"""Motion clips for the robot's side: read, checked, interpolated and placed with numpy alone. The format is docs/clips.md's."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ..errors import DeployError
from ..interface import Array
from ..policy.metadata import Metadata, StartState
from . import plausibility
from .clip_file import read_clip
from .clip_paths import ClipError, find_clip

RATE = 60.0  # Hz, over one period of which the velocities at the start are taken, as in the training


class Pose(NamedTuple):
    """Poses of the robot at T moments, world frame: root_pos_w (T, 3) m, root_quat_w (T, 4) wxyz, joint_pos (T, J) rad."""

    root_pos_w: Array
    root_quat_w: Array
    joint_pos: Array


@dataclass(frozen=True)
class Clip:
    """A motion of T frames.

    Attributes:
        name: the file's stem.
        time: (T,) s, from 0, rising.
        frames: its poses at these times.
        warnings: what `plausibility.check` says that is no error.
    """

    name: str
    time: Array
    frames: Pose
    warnings: tuple[plausibility.Finding, ...] = ()

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.time[-1])

    def at(self, time: Array) -> Pose:
        """Interpolated poses at times (M,) s since the clip's start, clamped to the clip."""
        high = np.searchsorted(self.time, time, side="right").clip(1, len(self.time) - 1)
        low = high - 1
        share = ((time - self.time[low]) / (self.time[high] - self.time[low])).clip(0.0, 1.0)[:, None]
        pos, quat, joint_pos = self.frames
        return Pose(
            pos[low] + share * (pos[high] - pos[low]),
            _slerp(quat[low], quat[high], share),
            joint_pos[low] + share * (joint_pos[high] - joint_pos[low]),
        )

    def joint_vel(self, time: Array) -> Array:
        """Joint velocities (M, J) rad/s at times (M,) s: as in training central differences, one-sided at the ends."""
        before, after = (time - 1.0 / RATE).clip(min=0.0), (time + 1.0 / RATE).clip(max=self.duration)
        return (self.at(after).joint_pos - self.at(before).joint_pos) / (after - before)[:, None]

    def start(self) -> StartState:
        """The first pose, and the velocities there, world frame."""
        pos, quat, joint_pos = self.at(np.array([0.0, 1.0 / RATE]))
        turn = multiply(quat[1], quat[0] * [1.0, -1.0, -1.0, -1.0])
        sine = float(np.linalg.norm(turn[1:]))
        angle = 2.0 * np.arctan2(sine, abs(turn[0])) * np.sign(turn[0] or 1.0)
        return StartState(
            root_pos_w=pos[0].tolist(),
            root_quat_w=quat[0].tolist(),
            root_lin_vel_w=(RATE * (pos[1] - pos[0])).tolist(),
            root_ang_vel_w=(RATE * angle * turn[1:] / max(sine, 1e-12)).tolist(),
            joint_pos=joint_pos[0].tolist(),
            joint_vel=(RATE * (joint_pos[1] - joint_pos[0])).tolist(),
        )

    def placed(self, point: Array, yaw: float) -> "Clip":
        """The same motion, beginning at a point (2,) m on the ground, with the root facing `yaw`, rad."""
        pos, quat, joint_pos = self.frames
        w, x, y, z = quat[0]
        angle = yaw - np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        cos, sin = np.cos(angle), np.sin(angle)
        ahead = pos[:, :2] - pos[0, :2]
        xy = np.asarray(point) + ahead @ np.array([[cos, sin], [-sin, cos]])
        turn = np.array([np.cos(angle / 2.0), 0.0, 0.0, np.sin(angle / 2.0)])
        return replace(self, frames=Pose(np.column_stack([xy, pos[:, 2]]), multiply(turn, quat), joint_pos))


class BodyContact(Protocol):
    """Kinematics that also know the robot's shapes, such as `MujocoRobot.body_poses`."""

    leg_length: float
    """m, from the root to the lowest point of the robot in its default pose."""

    def contact_points(self, poses: Pose) -> Array:
        """(T, B, 3) m: of each body where its origin is, and as z the height of its lowest point."""
        ...


def load_clip(path: str | Path, metadata: Metadata, kinematics: object = None) -> Clip:
    """Read and check a clip. A path that is not on disk is looked up by its name among the clips that packages ship.

    Args:
        path: a .npy file, or the name of one. Joints in another order than the policy's are put right by their names, if
            the file has them.
        metadata: of the policy that is to follow it.
        kinematics: a `BodyContact`, to ask whether a robot could make this motion; with anything else it is not asked.

    Raises:
        DeployError: naming the file and what is wrong with it.
    """
    try:
        motion = read_clip(find_clip(Path(path)), metadata.robot, metadata.joint_names)
    except ClipError as error:
        raise DeployError(error.problem, error.remedy) from error
    quat = motion.root_quat_w / np.linalg.norm(motion.root_quat_w, axis=1, keepdims=True)
    frames = Pose(motion.root_pos_w, quat, motion.joint_pos)
    found = _findings(motion.time, frames, metadata, kinematics, motion.facts.fps)
    for finding in plausibility.errors(found):
        raise DeployError(f"{path}: {finding.where}", finding.remedy)
    return Clip(Path(path).stem, motion.time - motion.time[0], frames, tuple(plausibility.warnings(found)))


def _findings(
    time: Array, frames: Pose, metadata: Metadata, kinematics: object, fps: float | None
) -> list[plausibility.Finding]:
    leg_length, contact_points = (getattr(kinematics, name, None) for name in ("leg_length", "contact_points"))
    if leg_length is None or contact_points is None:
        return []
    return plausibility.check(
        time,
        *frames,
        joint_names=metadata.joint_names,
        joint_range=np.asarray(metadata.joint_range),
        leg_length=leg_length,
        fps=fps,
        contact_points=lambda: contact_points(frames),
    )


def multiply(a: Array, b: Array) -> Array:
    """Quaternion product: (..., 4), (..., 4) wxyz."""
    aw, ax, ay, az = np.moveaxis(a, -1, 0)
    bw, bx, by, bz = np.moveaxis(b, -1, 0)
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=-1,
    )


def _slerp(a: Array, b: Array, share: Array) -> Array:
    """The shorter way from a to b, (M, 4) unit quaternions; share (M, 1) from 0 to 1."""
    cosine = (a * b).sum(axis=1, keepdims=True)
    b, cosine = np.where(cosine < 0.0, -b, b), np.abs(cosine).clip(max=1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    # Where the two are nearly one, a straight line is as good, and the other formula 0 / 0.
    safe = np.where(sine > 1e-6, sine, 1.0)
    first = np.where(sine > 1e-6, np.sin((1.0 - share) * angle) / safe, 1.0 - share)
    second = np.where(sine > 1e-6, np.sin(share * angle) / safe, share)
    mixed = first * a + second * b
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
