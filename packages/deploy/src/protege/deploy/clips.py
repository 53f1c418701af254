"""Motion clips for the robot's side: read, checked, interpolated and placed with numpy alone. The format is docs/clips.md's."""

from dataclasses import dataclass, replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import DeployError
from .interface import Array
from .metadata import StartState

FIELDS = {"time": 1, "root_pos_w": 3, "root_quat_w": 4, "joint_pos": 0}  # numbers a frame; 0: one a joint
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
    """

    name: str
    time: Array
    frames: Pose

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


def load_clip(path: str | Path, num_joints: int) -> Clip:
    """Read and check a clip. A path that is not on disk is looked up by its name among the clips that packages ship.

    Args:
        path: a .npy file, or the name of one.
        num_joints: J of the robot that is to follow it.

    Raises:
        DeployError: naming the file and what is wrong with it.
    """
    found = _find(Path(path))
    try:
        with found.open("rb") as file:
            data = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DeployError(
            f"{path} is not a readable clip ({error})", "Clips are .npy files, see docs/clips.md"
        ) from error
    problem = _problem(data, num_joints)
    if problem:
        raise DeployError(f"{path}: {problem}", "See docs/clips.md")
    time, pos, quat, joint_pos = (np.asarray(data[field], dtype=np.float64) for field in FIELDS)
    quat = quat / np.linalg.norm(quat, axis=1, keepdims=True)
    return Clip(Path(path).stem, time - time[0], Pose(pos, quat, joint_pos))


def clip_frames(time: Array, root_pos_w: Array, root_quat_w: Array, joint_pos: Array) -> Array:
    """The structured array of a clip's file: time (T,) s, root_pos_w (T, 3) m, root_quat_w (T, 4), joint_pos (T, J) rad."""
    values = (time, root_pos_w, root_quat_w / np.linalg.norm(root_quat_w, axis=1, keepdims=True), joint_pos)
    frames = np.zeros(len(time), [(name, "<f8", value.shape[1:]) for name, value in zip(FIELDS, values, strict=True)])
    for name, value in zip(FIELDS, values, strict=True):
        frames[name] = value
    return frames


def _problem(data: Array, num_joints: int) -> str:
    """Why these are not the frames of a clip, empty if they are."""
    if data.dtype.names is None or set(FIELDS) - set(data.dtype.names):
        return f"a clip has the fields {', '.join(FIELDS)}"
    if data.ndim != 1 or len(data) < 2:
        return f"{data.size} frames are too few, a clip has at least two"
    for field, size in FIELDS.items():
        values, wanted = data[field].reshape(len(data), -1), size or num_joints
        if values.dtype.kind not in "fiu" or values.shape[1] != wanted:
            return f"{field} has {values.shape[1]} values of type {values.dtype} a frame, not {wanted} numbers"
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            return f"{field} of frame {bad[0]} is not a finite number"
    bad = np.flatnonzero(np.diff(data["time"]) <= 0.0)
    if len(bad):
        return f"time does not rise at frame {bad[0] + 1}"
    bad = np.flatnonzero(np.abs(np.linalg.norm(data["root_quat_w"], axis=1) - 1.0) > 0.01)
    return f"root_quat_w of frame {bad[0]} is not of unit length" if len(bad) else ""


SHIPPED = ((), ("data", "motions"))
"""Ends of the folders in which a file that is not there may be a shipped one: elsewhere another clip was meant."""


def _find(path: Path) -> Path:
    """A file, or a shipped one; no package is imported for it: some need torch."""
    if path.is_file():
        return path
    for entry in entry_points(group="protege.motions") if path.parent.parts[-2:] in SHIPPED else ():
        top, *rest = entry.value.split(".")
        spec = find_spec(top)
        for place in (spec and spec.submodule_search_locations) or ():
            shipped = Path(place, *rest, path.name)
            if shipped.is_file():
                return shipped
    raise DeployError(f"no clip at {path}", "Give a .npy file, or the name of a clip that protege-sim ships")


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
