"""A motion resampled at other times."""

from dataclasses import replace

import numpy as np
import torch

from protege.core.robots import rotation as R

from .source import JointMotion, Motion, SkeletonMotion

MAX_RATE = 120.0
"""Frames per second: faster recordings are thinned, because movements are slower than half of it."""
TIME_TOLERANCE = 1e-6
"""s, tolerance for frames that are already at the wanted times."""


def at_rate[M: Motion](motion: M, rate: float) -> M:
    """The motion with evenly spaced frames, including its first and last one: positions linear, rotations at constant speed.

    Args:
        motion: T frames.
        rate: frames per second; the next rate that divides the motion's duration evenly is used.
    """
    count = max(2, round(motion.time[-1] * rate) + 1)
    even = np.linspace(0.0, motion.time[-1], count)
    if len(motion.time) == count and np.abs(motion.time - even).max() < TIME_TOLERANCE:
        return motion
    low = np.clip(np.searchsorted(motion.time, even, side="right") - 1, 0, len(motion.time) - 2)
    share = (even - motion.time[low]) / (motion.time[low + 1] - motion.time[low])

    def linear(x: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (x.ndim - 1))
        return x[low] + part * (x[low + 1] - x[low])

    def turned(x: np.ndarray) -> np.ndarray:
        q, part = torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(share).reshape(-1, *[1] * (x.ndim - 1))
        return R.slerp(q[low], q[low + 1], part).numpy()

    same = {
        "fps": (count - 1) / motion.time[-1],
        "time": even,
        "root_pos_w": linear(motion.root_pos_w),
        "root_quat_w": turned(motion.root_quat_w),
    }
    if isinstance(motion, SkeletonMotion):
        contacts = None if motion.contacts is None else motion.contacts[low]
        return replace(motion, **same, rotations=turned(motion.rotations), contacts=contacts)
    if isinstance(motion, JointMotion):
        bodies = None if motion.body_pos_w is None else linear(motion.body_pos_w)
        return replace(motion, **same, joint_pos=linear(motion.joint_pos), body_pos_w=bodies)
    return replace(motion, **same)


def at_most[M: Motion](motion: M, rate: float = MAX_RATE) -> M:
    """The motion with at most this frame rate."""
    return at_rate(motion, rate) if float(np.median(np.diff(motion.time))) < 1.0 / (1.01 * rate) else motion
