"""What a frozen policy says about an observation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from protege.core.env import Obs
from protege.core.runs.load_policy import LoadedPolicy, load_policy


@dataclass(frozen=True)
class Label:
    """A teacher's opinion.

    Attributes:
        mean: (N, J) rad, mean action.
        std: (N, J) rad, its standard deviation.
        value: (N,), the discounted return that it expects.
        spread: (N, J) rad, deviation of the mean actions of several teachers from their mean; None of a single one.
    """

    mean: Tensor
    std: Tensor
    value: Tensor
    spread: Tensor | None = None


class Labeller(Protocol):
    """A teacher or an ensemble of teachers."""

    def label(self, obs: Obs) -> Label: ...


class Teacher:
    """A trained policy that labels observations: a tracker, MaskedMimic, or the teacher of a task.

    Args:
        loaded: from `protege.core.runs.experiments.load_policy`, on its device.
    """

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.policy, self.kind, self.path = loaded.policy, loaded.kind, loaded.path
        self.obs_keys = loaded.policy.obs_keys

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu", robot: str | None = None) -> "Teacher":
        """From a run folder, a checkpoint or a zoo entry.

        Raises:
            UserError: missing, damaged, of another format, shape or robot.
        """
        return cls(load_policy(path, device, robot))

    @torch.no_grad()
    def label(self, obs: Obs) -> Label:
        """Mean, deviation and value for observations (N, ...); without gradients."""
        return Label(*self.policy(obs))


class Ensemble:
    """Several teachers of one task as one: the Gaussian with the mean and variance of their mixture, and their mean value."""

    def __init__(self, teachers: Sequence[Labeller]) -> None:
        self.teachers = list(teachers)

    def label(self, obs: Obs) -> Label:
        """As `Teacher.label`; the deviation also holds what the teachers disagree on."""
        labels = [teacher.label(obs) for teacher in self.teachers]
        means = torch.stack([label.mean for label in labels])
        variances = torch.stack([label.std.square() for label in labels])
        mean = means.mean(0)
        spread = (means - mean).square().mean(0)
        value = torch.stack([label.value for label in labels]).mean(0)
        return Label(mean, (variances.mean(0) + spread).sqrt(), value, spread.sqrt())
