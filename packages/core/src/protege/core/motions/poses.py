"""Poses between the frames of a clip: positions and joint angles linearly, rotations on the shortest arc.

numpy alone: the robot's side shares this file (see docs/architecture.md).
"""

import math
from typing import NamedTuple

import numpy as np

FRAME_TIME = 0.017
"""s: the frames of a resampled motion are no further apart. Between them it is a straight line."""


class Poses(NamedTuple):
    """Poses of a robot at T moments, world frame: root_pos_w (T, 3) m, root_quat_w (T, 4) wxyz, joint_pos (T, J) rad."""

    root_pos_w: np.ndarray
    root_quat_w: np.ndarray
    joint_pos: np.ndarray


def frames_per_step(control_dt: float) -> int:
    """Frames of a resampled motion in a control step of so many seconds."""
    return math.ceil(control_dt / FRAME_TIME)


def interpolate(frames: Poses, time: np.ndarray, at: np.ndarray) -> Poses:
    """Poses between frames.

    Args:
        frames: T frames.
        time: (T,) s, when they are, rising.
        at: (M,) s, the moments that are asked for; before the first frame it is that frame, after the last one the last.

    Returns:
        M poses, with unit quaternions.
    """
    after = np.searchsorted(time, at, side="right").clip(1, len(time) - 1)
    before = after - 1
    share = ((at - time[before]) / (time[after] - time[before])).clip(0.0, 1.0)[:, None]
    pos, quat, joint_pos = frames
    return Poses(
        pos[before] + share * (pos[after] - pos[before]),
        slerp(quat[before], quat[after], share),
        joint_pos[before] + share * (joint_pos[after] - joint_pos[before]),
    )


def slerp(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Constant-speed interpolation, the short way round: (M, 4), (M, 4), (M, 1) from 0 to 1 -> (M, 4). Shoemake 1985."""
    a, b = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (a, b))
    cosine = (a * b).sum(axis=1, keepdims=True)
    b, angle = np.where(cosine < 0.0, -b, b), np.arccos(np.abs(cosine).clip(max=1.0))
    sine = np.sin(angle)
    # Where the two are nearly one, a straight line is as good, and the other formula 0 / 0.
    far, safe = sine > 1e-6, np.where(sine > 1e-6, sine, 1.0)
    mixed = np.where(far, np.sin((1.0 - share) * angle) / safe, 1.0 - share) * a
    mixed = mixed + np.where(far, np.sin(share * angle) / safe, share) * b
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
