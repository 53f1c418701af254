"""A small config, and the experiments of all packages."""

from dataclasses import dataclass, field
from importlib import import_module

from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPOConfig
from protege.core.runs.config import RunConfig
from protege.core.runs.experiments import EXPERIMENTS


@dataclass
class Weighted:
    weight: float = 1.0


@dataclass
class Envs:
    num_envs: int = 8
    speed: tuple[float, float] = (0.5, 1.5)
    frames: tuple[int, ...] = (1, 2)
    wind: bool = False
    task_mix: dict[str, float] = field(default_factory=lambda: {"track": 1.0})
    path: Weighted = field(default_factory=Weighted)
    goal: Weighted = field(default_factory=Weighted)


PARTS: dict[str, type] = {"run": RunConfig, "env": Envs, "agent": PPOConfig, "model": ModelConfig}


def families() -> dict:
    """The experiments of all packages by preset name, or by its first part."""
    known = dict(EXPERIMENTS)
    for package in ("protege.teachers.experiments", "protege.distill.experiment"):
        known |= import_module(package).EXPERIMENTS
    return known


def experiment_of(preset: str):
    """The experiment of a preset, as found by the command `train`."""
    known = families()
    return known.get(preset) or known[preset.split("/")[0]]
