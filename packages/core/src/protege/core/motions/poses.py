"""Interpolation between the frames of a clip: linear for positions and joint angles, along the shortest arc for rotations.

Only numpy is used, because `protege.deploy` shares this file (see docs/architecture.md).
"""

import math
from typing import NamedTuple

import numpy as np

FRAME_TIME = 0.017
"""Largest time between frames of a resampled motion, s. Between them it is interpolated."""


class Poses(NamedTuple):
    """Poses of a robot at T times, world frame: root_pos_w (T, 3) m, root_quat_w (T, 4) wxyz, joint_pos (T, J) rad."""

    root_pos_w: np.ndarray
    root_quat_w: np.ndarray
    joint_pos: np.ndarray


def frames_per_step(control_dt: float) -> int:
    """Number of frames of a resampled motion per control step of `control_dt` s."""
    return math.ceil(control_dt / FRAME_TIME)


def interpolate(frames: Poses, time: np.ndarray, at: np.ndarray) -> Poses:
    """Interpolate poses between frames.

    Args:
        frames: T frames.
        time: (T,) their times, s, increasing.
        at: (M,) times of the result, s, clamped to the first and last frame.

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
    """Constant-speed interpolation along the shorter path: (M, 4), (M, 4), (M, 1) from 0 to 1 -> (M, 4). Shoemake 1985."""
    a, b = (q / np.linalg.norm(q, axis=1, keepdims=True) for q in (a, b))
    cosine = (a * b).sum(axis=1, keepdims=True)
    b, angle = np.where(cosine < 0.0, -b, b), np.arccos(np.abs(cosine).clip(max=1.0))
    sine = np.sin(angle)
    # For nearly equal rotations the formula is 0 / 0; linear interpolation is then accurate.
    far, safe = sine > 1e-6, np.where(sine > 1e-6, sine, 1.0)
    mixed = np.where(far, np.sin((1.0 - share) * angle) / safe, 1.0 - share) * a
    mixed = mixed + np.where(far, np.sin(share * angle) / safe, share) * b
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
