"""Commands that are clips: follow a motion, of which some bodies are shown at some times."""

import torch
from torch import Tensor

from protege.core.motions import StreamedLibrary
from protege.core.robots.state import RobotState

from ..references.adaptive_sampling import AdaptiveSampler, startable_frames
from ..references.reference import Reference
from ..references.rows import assign_where, zero_where
from ..references.streamed_sampling import StreamedSampler
from .command import Command
from .masks import MaskSampler
from .task import TaskContext


class MotionCommand(Command):
    """Track clips of a library from random start frames (reference state initialisation, DeepMimic), more often where they fail.

    Args:
        masks: hides some of the target poses; None shows them all.
        start_within: episodes start in this first share of the clip: 1 for anywhere; less in evaluations, so that most of the clip
            is played, yet no two episodes are the same, and starts are uniform.
    """

    def __init__(self, context: TaskContext, masks: MaskSampler | None, *, start_within: float) -> None:
        n, config, library, dt = context.n, context.config, context.library, context.robot.control_dt
        self.library, self.masks, self.generator, self.start_within = library, masks, context.generator, start_within
        self.max_steps = max_steps(config.episode_length_s, dt)
        self.startable = startable_frames(library.counts, library.rate)
        self.start_noise = 0.0 if context.evaluation else config.track.start_noise
        self.sampler = self._sampler(context) if start_within == 1.0 and config.track.adaptive_sampling > 0.0 else None
        self.resample = dt / config.masked_mimic_params.resample_time
        self.reference = Reference(n, library.state, library.stride, config.future_frames)
        self.step = torch.zeros(n, dtype=torch.long, device=context.device)
        self.last_step = torch.zeros(n, dtype=torch.long, device=context.device)
        frames, bodies = len(config.future_frames), context.robot.num_bodies
        self.pose_mask = torch.ones(n, frames, bodies, dtype=torch.bool, device=context.device)

    def _sampler(self, context: TaskContext) -> AdaptiveSampler:
        library, dt, params = self.library, context.robot.control_dt, context.config.track
        ratio, limit = params.adaptive_sampling, params.adaptive_sampling_limit
        if isinstance(library, StreamedLibrary) and library.streams:
            return StreamedSampler(library, dt, ratio, limit)
        return AdaptiveSampler(library, self.startable, dt, ratio, limit)

    def refresh_clips(self) -> None:
        self.startable.copy_(startable_frames(self.library.counts, self.library.rate))
        if isinstance(self.sampler, StreamedSampler):
            self.sampler.refresh_clips()

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Clips (n,), and where within their possible starts episodes begin, (n,) in 0 to 1."""
        if self.sampler is not None:
            return self.sampler.sample(n, self.generator)
        clip = self.library.sample_clips(n, self.generator)
        return clip, torch.rand(n, device=self.step.device, generator=self.generator) * self.start_within

    def reset(self, mask: Tensor) -> RobotState:
        library, reference, n = self.library, self.reference, len(mask)
        clip, phase = self.draw(n)
        first = library.starts[clip]
        last = first + library.counts[clip] - 1
        frame = first + (phase * self.startable[clip]).long()
        assign_where(reference.index, mask, frame)
        assign_where(reference.last, mask, last)
        # Every episode starts at the origin, so that coordinates stay small in float32.
        assign_where(reference.shift[:, :2], mask, -library.state.root_pos_w[frame, :2])
        zero_where(self.step, mask)
        assign_where(self.last_step, mask, ((last - frame) // reference.stride).clamp(1, self.max_steps))
        if self.masks is not None:
            assign_where(self.pose_mask, mask, self.masks.sample(n, self.generator))
        start = reference.now()
        return perturbed(start, self.start_noise, self.generator) if self.start_noise else start

    def advance(self, state: RobotState) -> None:
        self.step += 1
        self.reference.advance()
        if self.masks is not None:
            n = len(self.step)
            fresh = torch.rand(n, device=self.step.device, generator=self.generator) < self.resample
            assign_where(self.pose_mask, fresh, self.masks.sample(n, self.generator))

    @property
    def clip(self) -> Tensor:
        return self.library.clip_at(self.reference.index)

    @property
    def clip_time(self) -> Tensor:
        index = self.reference.index
        return (index - self.library.starts[self.library.slot_at(index)]) / self.library.rate

    def record_failures(self, failed: Tensor) -> None:
        if self.sampler is not None:
            self.sampler.count(self.reference.index, failed)

    def statistics(self) -> list[Tensor]:
        # Each rank has its own clips on its device, so that their counts belong to different bins.
        mixed = isinstance(self.sampler, StreamedSampler)
        return [] if self.sampler is None or mixed else [self.sampler.counts]

    def _rows(self) -> dict[str, Tensor]:
        return super()._rows() | ({} if self.sampler is None else self.sampler.saved_state)


def perturbed(state: RobotState, size: float, generator: torch.Generator) -> RobotState:
    """States (n, ...) with noise on joints and on the root's velocity; each row draws a share of `size` from 0 to 1.

    At `size` 1 the standard deviations are 0.03 rad, 0.5 rad/s, 0.15 m/s and 0.3 rad/s. Positions of bodies stay the same: a
    simulator reads only the root and the joints.
    """
    n, device = len(state.joint_pos), state.joint_pos.device
    share = size * torch.rand(n, 1, device=device, generator=generator)

    def noise(like: Tensor, deviation: float) -> Tensor:
        return deviation * share * torch.randn(like.shape, device=device, generator=generator)

    state.joint_pos = state.joint_pos + noise(state.joint_pos, 0.03)
    state.joint_vel = state.joint_vel + noise(state.joint_vel, 0.5)
    state.body_lin_vel_w = state.body_lin_vel_w + noise(state.root_lin_vel_w, 0.15).unsqueeze(1)
    state.body_ang_vel_w = state.body_ang_vel_w + noise(state.root_ang_vel_w, 0.3).unsqueeze(1)
    return state


def max_steps(episode_length_s: float, dt: float) -> int:
    """Control steps of the longest episode."""
    return round(episode_length_s / dt)
