"""Frames of many clips: root and joints at a constant rate, clip by clip. Body poses are computed from them."""

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

MAX_BATCH_FRAMES = 65536
"""Number of frames of several clips that are computed together on a GPU. A CPU computes one clip at a time, because the last digit
of a sine depends on the batch size, and a clip's frames must always be bitwise equal."""


class Frames(Protocol):
    """C clips, resampled at `rate` Hz.

    Attributes:
        names: of the clips, all different.
        counts: (C,) number of frames of each clip, at least three.
        weights: (C,) sampling weights of the clips.
    """

    rate: float
    names: list[str]
    counts: np.ndarray
    weights: np.ndarray

    def poses(self, clip: int) -> Poses:
        """The frames of a clip."""
        ...


def frame_rate(robot: Robot) -> float:
    """Frame rate of a robot's resampled motions, Hz."""
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
    """Resample a clip at a constant rate."""
    return clip.at(np.arange(frame_counts([clip], rate)[0]) / rate)


def body_frames(
    source: Frames, clips: Sequence[int], kinematics: Kinematics, device: torch.device
) -> Iterator[RobotState]:
    """Full states of the frames of some clips, in the clips' order, in pieces (n, ...); computed in double precision.

    Args:
        kinematics: in double precision, on the device.
    """
    piece: list[Poses] = []
    for i in clips:
        poses = source.poses(i)
        if piece and (device.type == "cpu" or sum(len(x.joint_pos) for x in (*piece, poses)) > MAX_BATCH_FRAMES):
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
