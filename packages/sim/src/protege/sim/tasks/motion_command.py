"""Commands that are clips: follow this motion, of which you see these bodies at these times."""

import torch
from torch import Tensor

from protege.core.robots.state import RobotState

from ..references.adaptive_sampling import AdaptiveSampler
from ..references.reference import Reference, keep
from .command import Command
from .masks import MaskSampler
from .task import TaskContext


class MotionCommand(Command):
    """Track clips of a library from a random phase (reference-state initialisation, DeepMimic), more often where they fail.

    Args:
        masks: hides part of the target poses; None shows them all.
        start_within: episodes start in this first share of the clip: 1 anywhere; in evaluation less, so that most of the clip is
            played, yet no two episodes are alike, and all are drawn alike.
    """

    def __init__(self, context: TaskContext, masks: MaskSampler | None, *, start_within: float) -> None:
        n, config, library, dt = context.n, context.config, context.library, context.robot.control_dt
        self.library, self.masks, self.generator, self.start_within = library, masks, context.generator, start_within
        self.max_steps = round(config.episode_length_s / dt)
        # A start in the last half second would be over before it begins.
        self.startable = (library.counts - round(0.5 * library.rate)).clamp_min(1)
        ratio, limit = config.track.adaptive_sampling, config.track.adaptive_sampling_limit
        adaptive = start_within == 1.0 and ratio > 0.0
        self.sampler = AdaptiveSampler(library, self.startable, dt, ratio, limit) if adaptive else None
        self.resample = dt / config.masked_mimic_params.resample_time
        self.reference = Reference(n, library.state, library.stride, config.future_frames)
        self.step = torch.zeros(n, dtype=torch.long, device=context.device)
        self.last_step = torch.zeros(n, dtype=torch.long, device=context.device)
        frames, bodies = len(config.future_frames), context.robot.num_bodies
        self.pose_mask = torch.ones(n, frames, bodies, dtype=torch.bool, device=context.device)

    def reset(self, mask: Tensor) -> RobotState:
        library, reference, n = self.library, self.reference, len(mask)
        if self.sampler is not None:
            clip, phase = self.sampler.sample(n, self.generator)
        else:
            clip = library.sample_clips(n, self.generator)
            phase = torch.rand(n, device=mask.device, generator=self.generator) * self.start_within
        first, count = library.starts[clip], library.counts[clip]
        start = (phase * self.startable[clip]).long()
        keep(reference.index, mask, first + start)
        keep(reference.last, mask, first + count - 1)
        # Every episode starts at the origin, so that coordinates stay small in float32.
        root = library.state.root_pos_w[first + start]
        keep(reference.shift, mask, torch.cat([-root[:, :2], torch.zeros_like(root[:, 2:])], dim=1))
        keep(self.step, mask, torch.zeros_like(self.step))
        keep(self.last_step, mask, ((count - 1 - start) // reference.stride).clamp(1, self.max_steps))
        if self.masks is not None:
            keep(self.pose_mask, mask, self.masks.sample(n, self.generator))
        return reference.now()

    def advance(self, state: RobotState) -> None:
        self.step += 1
        self.reference.advance()
        if self.masks is not None:
            n = len(self.step)
            fresh = torch.rand(n, device=self.step.device, generator=self.generator) < self.resample
            keep(self.pose_mask, fresh, self.masks.sample(n, self.generator))

    @property
    def clip(self) -> Tensor:
        return torch.bucketize(self.reference.index, self.library.starts[1:], right=True)

    def judge(self, failed: Tensor) -> None:
        if self.sampler is not None:
            self.sampler.count(self.reference.index, failed)

    def statistics(self) -> list[Tensor]:
        return [] if self.sampler is None else [self.sampler.counts]

    def _rows(self) -> dict[str, Tensor]:
        return super()._rows() | ({} if self.sampler is None else {"adaptive_sampling": self.sampler.counts})
