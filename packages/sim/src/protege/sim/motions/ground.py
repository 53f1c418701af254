"""Fitting a clip to the ground and to the limits of a body."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from .surface import trace

TOUCH_HEIGHT = 0.01  # m above the lowest point: lower points touch the ground
HOVER_HEIGHT, HOVER_SPEED = 0.04, 0.3  # m, m/s: so do points that are lower and slower than these
# Standard deviations, frames of 60 Hz: of a clip (8 Hz pass), of the changes of its height, of a landing foot.
SNAP_SMOOTHING, HEIGHT_SMOOTHING, IMPACT_SMOOTHING = 1.0, 2.0, 0.5
STEADY_SMOOTHING = 4.0
"""Frames of 60 Hz, for changes of height that legs compensate."""


def smooth(clip: Clip, *, wraps: bool = False) -> Clip:
    """The clip without frequencies above about 8 Hz: where cuts were closed, joints jump between frames.

    Args:
        wraps: the last frame repeats the first pose.
    """
    snap = frames(SNAP_SMOOTHING, clip.duration / (len(clip.time) - 1))
    parts = [_smooth(x, snap, wraps=wraps) for x in (clip.root_pos_w, clip.root_quat_w, clip.joint_pos)]
    quat = parts[1] / np.linalg.norm(parts[1], axis=1, keepdims=True)
    return replace(clip, root_pos_w=parts[0], root_quat_w=quat, joint_pos=parts[2])


def put_on_ground(clip: Clip, robot: Robot, clearance: np.ndarray, *, wraps: bool = False) -> Clip:
    """The clip raised and lowered frame by frame, so that a foot, hand or back that touches the ground is on it and not in it.

    Limbs of another length touch it at another height in each pose: one shift for all frames would leave some hovering and others
    in the ground. While nothing touches the ground, the shifts before and after are interpolated.

    Args:
        clearance: (T,) m, height of the lowest point of the original body.
        wraps: the last frame repeats the first pose.
    """
    lowest = trace(clip, robot).height.min(axis=1)
    count = len(clip.time) - 1 if wraps else len(clip.time)
    height = clearance - clearance.min().clip(0.0)
    still = np.abs(np.gradient(clearance, clip.time)) < HOVER_SPEED
    touches = np.flatnonzero(((height < TOUCH_HEIGHT) | (height < HOVER_HEIGHT) & still)[:count])
    shift = np.interp(np.arange(len(clip.time)), touches, -lowest[touches], period=count if wraps else None)
    step = clip.duration / (len(clip.time) - 1)
    smoothing, impact = frames(HEIGHT_SMOOTHING, step), frames(IMPACT_SMOOTHING, step)
    shift = _smooth(np.maximum(shift, -lowest), smoothing, wraps=wraps)
    shift += _smooth(_largest((-lowest - shift).clip(0.0), impact, wraps=wraps), impact, wraps=wraps)
    return replace(clip, root_pos_w=clip.root_pos_w + shift[:, None] * [0.0, 0.0, 1.0])


def put_feet_on_ground(clip: Clip, robot: Robot, standing: Sequence[np.ndarray], down: np.ndarray) -> Clip:
    """The clip raised and lowered so that standing feet are on the ground on average; `feet.pinned` does the rest.

    While no foot stands the shift is interpolated, so that flights and falls stay as they were.

    Args:
        standing: for the left and the right foot, (T,) when it stands. If neither ever does, the lowest point of all is put on the
            ground.
        down: (T,) when another body is on the ground as well: then that one is put on it, if it is lower.
    """
    surface, steady = trace(clip, robot), frames(STEADY_SMOOTHING, clip.duration / (len(clip.time) - 1))
    total, count = np.zeros(len(clip.time)), np.zeros(len(clip.time))
    for names, stands in zip((robot.groups.left_foot, robot.groups.right_foot), standing, strict=True):
        own = np.isin(surface.body, robot.body_ids(names))
        lowest = np.where(down, surface.height.min(axis=1), surface.height[:, own].min(axis=1))
        total += np.where(stands, lowest, 0.0)
        count += stands
    known = np.flatnonzero(count)
    if len(known):
        shift = np.interp(np.arange(len(count)), known, -total[known] / count[known])
        shift = averaged(shift, steady)
    else:
        shift = np.full(len(count), -surface.height.min())
    others = surface.height[:, ~np.isin(surface.body, robot.body_ids(robot.feet))].min(axis=1)
    shift += averaged(largest((-others - shift).clip(0.0), steady), steady)
    return replace(clip, root_pos_w=clip.root_pos_w + shift[:, None] * [0.0, 0.0, 1.0])


def frames(at_60_hz: float, step: float) -> float:
    """A number of frames of 60 Hz, in frames of `step` s; rounded, so that almost 60 Hz count as 60 Hz."""
    return round(at_60_hz / (60.0 * step), 2)


def averaged(x: np.ndarray, deviation: float) -> np.ndarray:
    """(T, ...) averaged over time by a Gaussian, in frames; extrapolated evenly beyond its ends."""
    return _smooth(x, deviation, wraps=False)


def largest(x: np.ndarray, deviation: float) -> np.ndarray:
    """(T,) the largest value nearby, so that its average nowhere falls below x."""
    return _largest(x, deviation, wraps=False)


def _smooth(x: np.ndarray, deviation: float, *, wraps: bool) -> np.ndarray:
    """(T, ...) averaged over time by a Gaussian, in frames; beyond its ends it continues, a cycle with its next repetition."""
    reach = round(3 * deviation)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    return np.tensordot(_windows(x, reach, wraps=wraps), weights / weights.sum(), axes=1)


def _largest(x: np.ndarray, deviation: float, *, wraps: bool) -> np.ndarray:
    """(T,) the largest value within the reach of `_smooth`, whose result then nowhere falls below x."""
    return _windows(x, round(3 * deviation), wraps=wraps).max(axis=-1)


def _windows(x: np.ndarray, reach: int, *, wraps: bool) -> np.ndarray:
    """(T, ..., 2 reach + 1) the neighbours of each frame."""
    if wraps:
        turn, frame = np.divmod(np.arange(-reach, len(x) + reach), len(x) - 1)
        x = x[frame] + np.multiply.outer(turn, x[-1] - x[0])
    else:
        x = np.pad(x, [(reach, reach), *[(0, 0)] * (x.ndim - 1)], mode="reflect", reflect_type="odd")
    return np.lib.stride_tricks.sliding_window_view(x, 2 * reach + 1, axis=0)


def within_limits(clip: Clip, robot: Robot) -> Clip:
    """The clip with its joint angles clamped to the robot's limits, which closing a cycle can exceed."""
    low, high = robot.joint_range().double().numpy().T
    return replace(clip, joint_pos=clip.joint_pos.clip(low, high))


def rounded(clip: Clip) -> Clip:
    """The clip to nine decimals: processors differ in the last bit of a sine, but files should be the same on all of them."""

    def cut(x: np.ndarray) -> np.ndarray:
        return x.round(9) + 0.0  # the sum turns -0 into 0

    return Clip(clip.name, cut(clip.time), cut(clip.root_pos_w), cut(clip.root_quat_w), cut(clip.joint_pos))
