"""Frames of many clips: root and joints at an even rate, clip by clip. Body poses are computed from them."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from ..robots.kinematics import Kinematics
from ..robots.robot import Robot
from ..robots.state import RobotState
from .clip import Clip
from .library import different_names
from .poses import Poses, frames_per_step
from .table import frame_counts, states

TOGETHER = 65536
"""Frames of several clips that are computed together on a GPU. A CPU computes one clip at a time: the last digit of a sine depends
on how many are computed together, and a clip's frames must always be the same to the bit."""


class Frames(Protocol):
    """C clips, resampled at `rate` frames a second.

    Attributes:
        names: of the clips, all different.
        counts: (C,) frames of each clip, at least three.
        weights: (C,) of the clips, for the draws.
    """

    rate: float
    names: list[str]
    counts: np.ndarray
    weights: np.ndarray

    def poses(self, clip: int) -> Poses:
        """The frames of a clip."""
        ...


def frame_rate(robot: Robot) -> float:
    """Frames a second of a robot's resampled motions."""
    return frames_per_step(robot.control_dt) / robot.control_dt


class ClipFrames:
    """Clips in memory as `Frames`."""

    def __init__(self, clips: Sequence[Clip], robot: Robot, weights: Sequence[float] | None = None) -> None:
        self.clips, self.rate = clips, frame_rate(robot)
        self.names = different_names([clip.name for clip in clips])
        self.counts = frame_counts(clips, self.rate)
        self.weights = np.ones(len(clips)) if weights is None else np.array(weights, dtype=float)

    def poses(self, clip: int) -> Poses:
        return resampled(self.clips[clip], self.rate)


def resampled(clip: Clip, rate: float) -> Poses:
    """A clip's frames at an even rate."""
    return clip.at(np.arange(frame_counts([clip], rate)[0]) / rate)


def body_frames(
    source: Frames, clips: Sequence[int], kinematics: Kinematics, device: torch.device
) -> Iterator[RobotState]:
    """The whole frames of some clips, one clip after the other, in pieces (n, ...); computed in double precision.

    Args:
        kinematics: in double precision, on the device.
    """
    piece: list[Poses] = []
    for i in clips:
        poses = source.poses(i)
        if piece and (device.type == "cpu" or sum(len(x.joint_pos) for x in (*piece, poses)) > TOGETHER):
            yield _states(piece, source.rate, kinematics, device)
            piece = []
        piece.append(poses)
    if piece:
        yield _states(piece, source.rate, kinematics, device)


def _states(piece: Sequence[Poses], rate: float, kinematics: Kinematics, device: torch.device) -> RobotState:
    columns = [torch.from_numpy(np.concatenate(x).astype(np.float64)).to(device) for x in zip(*piece, strict=True)]
    counts = [len(poses.joint_pos) for poses in piece]
    starts = torch.tensor(counts).cumsum(0) - torch.tensor(counts)
    here = torch.arange(sum(counts))
    first, last = torch.zeros(len(here), dtype=torch.bool), torch.zeros(len(here), dtype=torch.bool)
    first[starts], last[starts + torch.tensor(counts) - 1] = True, True
    before, after = here - (~first).long(), here + (~last).long()
    return states(columns, before.to(device), here.to(device), after.to(device), kinematics, rate)
