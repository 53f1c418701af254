"""Fitting joint rotations to a robot's hinges, and a clip to the ground."""

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.motion import Clip
from protege.core.robot import Robot

from .surface import trace

TOUCH = 0.04  # m; feet that are higher are in the air
SMOOTHING = 2  # frames, standard deviation


def hinge_angles(q: Tensor, limits: Tensor) -> Tensor:
    """Angles of a body's x, y and z hinges, in this order, that turn it by q.

    Of the two solutions of each frame the one nearer to the frame before is taken, without jumps of a whole turn; what the
    limits do not allow is clamped.

    Args:
        q: (T, 4) rotations in the parent's frame.
        limits: (3, 2) rad.

    Returns:
        (T, 3) rad.
    """
    w, x, y, z = q.double().unbind(-1)
    sin_y = (2.0 * (x * z + w * y)).clamp(-1.0, 1.0)
    first = torch.stack(
        [
            torch.atan2(2.0 * (w * x - y * z), 1.0 - 2.0 * (x * x + y * y)),
            torch.asin(sin_y),
            torch.atan2(2.0 * (w * z - x * y), 1.0 - 2.0 * (y * y + z * z)),
        ],
        dim=-1,
    )
    other = torch.stack([first[:, 0] + torch.pi, torch.pi - first[:, 1], first[:, 2] + torch.pi], dim=-1)
    middle = limits.double().mean(dim=1)
    previous, angles = middle, []
    for candidates in torch.stack([first, other], dim=1):
        near = previous + R.wrap_angle(candidates - previous)
        previous = near[(near - previous).square().sum(-1).argmin()]
        angles.append(previous)
    chain = torch.stack(angles)
    # A clip that starts a whole turn away from the hinge's range is brought into it.
    chain = chain - 2.0 * torch.pi * ((chain.mean(dim=0) - middle) / (2.0 * torch.pi)).round()
    return chain.clamp(limits[:, 0].double(), limits[:, 1].double())


def put_on_ground(clip: Clip, robot: Robot, clearance: np.ndarray, *, wraps: bool = False) -> Clip:
    """The clip raised and lowered frame by frame, so that its feet are as high above the ground as their model's.

    Legs of another length stand at another height in each pose: one shift for all frames leaves some hovering and others
    in the ground. Where the model's feet are in the air, the shifts before and after are interpolated.

    Args:
        clearance: (T,) m, height of the lowest foot point of whoever moved like this; below 0 counts as 0.
        wraps: the last frame is the first one's pose.
    """
    surface = trace(clip, robot)
    feet = np.isin(surface.body, robot.body_ids(robot.feet))
    shift = clearance.clip(0.0) - surface.height[:, feet].min(axis=1)
    touches = np.flatnonzero(clearance < clearance.min().clip(0.0) + TOUCH)
    count = len(shift) - 1 if wraps else len(shift)
    frames = np.arange(count)
    touches = touches[touches < count]
    shift = np.interp(frames, touches, shift[touches], period=count if wraps else None)
    # Whatever the feet do, hands and back are not in the ground either.
    shift = np.maximum(shift, -surface.height[:count].min(axis=1))
    shift = _smooth(shift, "wrap" if wraps else "edge")
    root = clip.root_pos_w.copy()
    root[:, 2] += np.append(shift, shift[0]) if wraps else shift
    return replace(clip, root_pos_w=root)


def _smooth(x: np.ndarray, mode: Literal["wrap", "edge"]) -> np.ndarray:
    """Values at 60 Hz without what is faster than a foot that comes down; what is beyond the ends as of `np.pad`."""
    reach = np.arange(-3 * SMOOTHING, 3 * SMOOTHING + 1)
    weights = np.exp(-0.5 * (reach / SMOOTHING) ** 2)
    return np.convolve(np.pad(x, 3 * SMOOTHING, mode=mode), weights / weights.sum(), mode="valid")


def within_limits(clip: Clip, robot: Robot) -> Clip:
    """The clip with its joint angles clamped to the robot's limits: closing a cycle can push them past."""
    low, high = robot.joint_range().double().numpy().T
    return replace(clip, joint_pos=clip.joint_pos.clip(low, high))


def rounded(clip: Clip) -> Clip:
    """The clip to nine decimals: processors differ in the last bit of a sine, a file is to be the same from all of them."""

    def cut(x: np.ndarray) -> np.ndarray:
        return x.round(9) + 0.0  # the sum turns -0 into 0

    return Clip(clip.name, cut(clip.time), cut(clip.root_pos_w), cut(clip.root_quat_w), cut(clip.joint_pos))
