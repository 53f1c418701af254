"""Structured masks over future poses: which bodies a policy observes, and at which times."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from protege.core import checks
from protege.core.errors import UserError
from protege.core.robots.robot import Robot

from .task import TaskContext


@dataclass
class MaskParams:
    """The target poses that an env observes (MaskedMimic, arXiv 2409.14393, section 5.2).

    Attributes:
        patterns: weight of each pattern of visible bodies: `full`, `head_hands`, `root`, `hands`, `feet`, `random`; with
            `inbetween` all bodies are visible, but only in the furthest frame.
        frame_keep: probability that a future frame is visible (at least one always is); it does not apply to `inbetween`.
        resample_time: mean time between draws within an episode, s.
    """

    patterns: dict[str, float] = field(
        default_factory=lambda: {
            "full": 1.0,
            "head_hands": 1.0,
            "root": 0.5,
            "hands": 0.5,
            "feet": 0.5,
            "random": 1.5,
            "inbetween": 0.5,
        }
    )
    frame_keep: float = 0.75
    resample_time: float = 2.0

    def check(self, key: str) -> None:
        checks.weights(self, key, "patterns")
        if not any(self.patterns.values()):
            raise UserError(f"{key}.patterns has no positive weight", f"Give one, e.g. {key}.patterns.full=1")
        checks.shares(self, key, "frame_keep")
        checks.above_zero(self, key, "resample_time")


class MaskSampler:
    """Draws masks (n, K, B): a pattern of bodies times a choice of future frames, as in MaskedMimic (arXiv 2409.14393).

    Raises:
        UserError: a pattern has an unknown name.
    """

    def __init__(self, params: MaskParams, robot: Robot, num_frames: int, device: torch.device) -> None:
        groups = {
            "full": robot.body_names,
            "head_hands": (robot.head, *robot.hands),
            "root": robot.body_names[:1],
            "hands": robot.hands,
            "feet": robot.feet,
            "random": (),
            "inbetween": robot.body_names,
        }
        if unknown := set(params.patterns) - set(groups):
            raise UserError(
                f"env.masked_mimic_params.patterns: unknown pattern {min(unknown)!r}", f"Known: {', '.join(groups)}"
            )
        self.num_frames, self.frame_keep = num_frames, params.frame_keep
        self.furthest = torch.arange(num_frames, device=device) == num_frames - 1
        weights = torch.tensor(list(params.patterns.values()), device=device)
        self.edges = (weights / weights.sum()).cumsum(0)[:-1]
        self.is_random = torch.tensor([name == "random" for name in params.patterns], device=device)
        self.is_inbetween = torch.tensor([name == "inbetween" for name in params.patterns], device=device)
        self.bodies = torch.zeros(len(params.patterns), robot.num_bodies, dtype=torch.bool, device=device)
        for row, name in enumerate(params.patterns):
            self.bodies[row, robot.body_ids(groups[name])] = True

    @classmethod
    def of(cls, context: TaskContext) -> "MaskSampler":
        """The sampler of the env's `masked_mimic_params`, which all tasks share."""
        config = context.config
        return cls(config.masked_mimic_params, context.robot, len(config.future_frames), context.device)

    def none(self, n: int) -> Tensor:
        """(n, K, B) bool, all hidden."""
        return self.bodies.new_zeros(n, self.num_frames, self.bodies.shape[1])

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, K, B) bool; every mask shows at least one body at one time."""
        device = self.bodies.device
        pattern = torch.bucketize(torch.rand(n, device=device, generator=generator), self.edges, right=True)
        # The random pattern draws its density first, then the bodies, so that few and many visible bodies both occur.
        draws = torch.rand(n, self.bodies.shape[1], device=device, generator=generator)
        density = torch.rand(n, 1, device=device, generator=generator)
        random = (draws < density) | (draws == draws.amin(dim=1, keepdim=True))
        bodies = torch.where(self.is_random[pattern, None], random, self.bodies[pattern])
        times = torch.rand(n, self.num_frames, device=device, generator=generator)
        frames = (times < self.frame_keep) | (times == times.amin(dim=1, keepdim=True))
        frames = torch.where(self.is_inbetween[pattern, None], self.furthest, frames)
        return frames[:, :, None] & bodies[:, None, :]
