"""Chooses how an environment stores its clips on the device: all of them, or blocks that are exchanged during training."""

import torch

from protege.core.motions import MotionLibrary, SlotLibrary, StreamedLibrary
from protege.core.motions.frames import ClipFrames
from protege.core.robots.robot import Robot
from protege.core.runs.clip_selection import SelectedMotions

from .env_config import EnvConfig
from .tasks.every_clip import every_clip_library
from .tasks.motion_command import max_steps


def make_library(
    motions: SelectedMotions, robot: Robot, device: torch.device, config: EnvConfig, seed: int, *, evaluation: bool
) -> MotionLibrary | SlotLibrary:
    """A library of all clips if they fit into `env.track.device_frames`; otherwise a `StreamedLibrary`, which loads blocks."""
    frames, most = motions.frames, config.track.device_frames
    if evaluation and config.track.every_clip:
        return every_clip_library(frames, robot, device, most, config.num_envs)
    if isinstance(frames, ClipFrames) and frames.counts.sum() <= most:
        return MotionLibrary(frames.clips, robot, device, frames.weights.tolist())
    longest = max_steps(config.episode_length_s, robot.control_dt)
    interval = max_steps(config.track.exchange_interval_s, robot.control_dt)
    return StreamedLibrary(frames, robot, device, most, longest, interval, seed)
