"""Motion clips on disk: the file format, its checks, and where clips are found."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from .. import rotation as R
from ..checkpoint import write_atomically
from ..errors import UserError
from ..robot import Robot

FIELDS = ("time", "root_pos_w", "root_quat_w", "joint_pos")


def clip_dtype(num_joints: int) -> np.dtype:
    """What a frame of a clip holds: time s, root position m, root rotation wxyz, joint positions rad."""
    return np.dtype(
        [("time", "f8"), ("root_pos_w", "f8", 3), ("root_quat_w", "f8", 4), ("joint_pos", "f8", (num_joints,))]
    )


@dataclass(frozen=True)
class Clip:
    """A motion of T frames.

    Attributes:
        name: the file's stem.
        time: (T,) s, rising.
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz.
        joint_pos: (T, J) rad.
    """

    name: str
    time: np.ndarray
    root_pos_w: np.ndarray
    root_quat_w: np.ndarray
    joint_pos: np.ndarray

    @property
    def duration(self) -> float:
        """Seconds."""
        return float(self.time[-1] - self.time[0])

    @property
    def mean_speed(self) -> float:
        """Horizontal distance from first to last frame over the duration, m/s."""
        return float(np.linalg.norm((self.root_pos_w[-1] - self.root_pos_w[0])[:2]) / self.duration)

    @property
    def is_cyclic(self) -> bool:
        """Whether the last frame is the first one's pose, somewhere else: angles within 0.05 rad, height within 3 cm."""
        q = torch.from_numpy(self.root_quat_w[[0, -1]])
        tilt = R.multiply(R.conjugate(R.heading(q)), q)
        return bool(
            np.abs(self.joint_pos[-1] - self.joint_pos[0]).max() < 0.05
            and abs(self.root_pos_w[-1, 2] - self.root_pos_w[0, 2]) < 0.03
            and float(R.angle_between(tilt[0], tilt[1])) < 0.05
        )


def load_clip(path: str | Path, robot: Robot) -> Clip:
    """Read and check a clip. A bare name, or one in `data/motions`, that is not on disk is one of the clips that packages ship.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    found = _find(Path(path))
    try:
        with found.open("rb") as file:
            data = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(
            f"{path} is not a readable clip ({error})", "Import it again: protege-sim motions import"
        ) from error
    _check(str(path), data, robot)
    return Clip(Path(path).stem, *(np.ascontiguousarray(data[field], dtype=np.float64) for field in FIELDS))


def _check(path: str, data: np.ndarray, robot: Robot) -> None:
    """Refuse what is not a clip of this robot."""
    if data.dtype.names is None or set(FIELDS) - set(data.dtype.names):
        raise UserError(f"{path} is not a clip: it needs the fields {', '.join(FIELDS)}", "See docs/clips.md")
    if data.ndim != 1 or len(data) < 2:
        raise UserError(f"{path} has {data.size} frame{'s' * (data.size != 1)}", "A clip needs at least two")
    joints = data["joint_pos"].size // len(data)
    if joints != robot.num_joints:
        raise UserError(f"{path} has {joints} joints, {robot.name} has {robot.num_joints}", "Retarget it to this robot")
    for field in FIELDS:
        mine, wanted = data.dtype[field], clip_dtype(joints)[field]
        if mine.shape != wanted.shape or mine.base.kind not in "fiu":
            raise UserError(f"{path}: {field} is {mine}, not {wanted}", "See docs/clips.md")
        bad = np.flatnonzero(~np.isfinite(data[field].reshape(len(data), -1)).all(axis=1))
        if len(bad):
            raise UserError(f"{path}: {field} of frame {bad[0]} is not a finite number", "Mend or cut the frame")
    bad = np.flatnonzero(np.diff(data["time"]) <= 0.0)
    if len(bad):
        raise UserError(f"{path}: time does not rise at frame {bad[0] + 1}", "Frames must be in order")
    bad = np.flatnonzero(np.abs(np.linalg.norm(data["root_quat_w"], axis=1) - 1.0) > 0.01)
    if len(bad):
        raise UserError(f"{path}: root_quat_w of frame {bad[0]} is not of unit length", "Quaternions are wxyz")


def load_clips(paths: Sequence[str | Path], robot: Robot) -> list[Clip]:
    """Several clips.

    Raises:
        UserError: also if there are none.
    """
    if not paths:
        raise UserError("no motion clip given", "Add --motion-file data/motions/smpl_humanoid_walk.npy")
    return [load_clip(path, robot) for path in paths]


def save_clip(path: str | Path, clip: Clip) -> None:
    """Write a clip whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    data = np.zeros(len(clip.time), clip_dtype(clip.joint_pos.shape[1]))
    for field in FIELDS:
        data[field] = getattr(clip, field)
    write_atomically(Path(path), lambda file: np.save(file, data, allow_pickle=False))


SHIPPED = ((), ("data", "motions"))
"""Ends of the folders in which a file that is not there may be a shipped one: elsewhere another clip was meant."""


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    points = entry_points(group="protege.motions") if path.parent.parts[-2:] in SHIPPED else ()
    for entry in points:
        shipped = files(entry.value) / path.name
        if shipped.is_file():
            return Path(str(shipped))
    one = "Give each clip its own --motion-file" if "," in str(path) else ""
    raise UserError(f"no clip at {path}", one or "protege sim motions list shows the clips that are shipped")
