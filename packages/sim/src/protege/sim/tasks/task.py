"""A task as some envs play it: a command and dicts of named terms. Nothing to inherit from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from protege.core.motions import MotionLibrary, SlotLibrary
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.tasks import Task, tasks

from ..references.gait_set import GaitSet
from .command import Command
from .terms import CONDUCT, Deviation, Metric, Scene, Term


@dataclass(frozen=True)
class TaskTerms:
    """What some envs are asked to do.

    Attributes:
        command: draws what is asked and the reference that does it.
        rewards: weight and term by name.
        terminations: end a training episode as failed.
        failures: end an evaluation episode as failed; the task's published failure rule.
        metrics: measured over each episode.
    """

    command: Command
    rewards: Mapping[str, tuple[float, Term]]
    terminations: Mapping[str, Term]
    failures: Mapping[str, Term]
    metrics: Mapping[str, Metric]

    def reward(self, scene: Scene) -> Tensor:
        """The weighted sum of the reward terms, (n,)."""
        total: Tensor | None = None
        for weight, term in self.rewards.values():
            value = term(scene)
            total = weight * value if total is None else torch.add(total, value, alpha=weight)
        return torch.zeros_like(scene.deviation.mean_distance) if total is None else total

    def broken_rules(self, scene: Scene, *, evaluation: bool) -> dict[str, Tensor]:
        """Which rows have failed, (n,) bool each, by cause: by the failure rule in an evaluation, else by the terminations."""
        return {cause: rule(scene) for cause, rule in (self.failures if evaluation else self.terminations).items()}


@dataclass(frozen=True)
class TaskContext:
    """What `Task.build` makes the terms from.

    Attributes:
        task: what is built.
        n: envs.
        config: the env's config, an `EnvConfig`.
        gait: the walk that commands are obeyed with.
        evaluation: asks for failure rules, clips from near their start, commands that change less often, and plans in turn.
    """

    task: Task
    n: int
    config: Any
    robot: Robot
    library: MotionLibrary | SlotLibrary
    gaits: Callable[[], GaitSet]
    generator: torch.Generator
    device: torch.device
    evaluation: bool

    @property
    def params(self) -> Any:
        """The task's own parameters."""
        return getattr(self.config, self.task.config_key)


def asks_for_conduct(config: Any) -> bool:
    """Whether some task of an env's config rewards how gently robots move; see `terms.CONDUCT`."""
    known = [(task, getattr(config, task.config_key)) for task in tasks().values()]
    weights = [task.reward_weights(params) for task, params in known if hasattr(params, "rewards")]
    return any(given.get(name, 0.0) for given in weights for name in CONDUCT)


def make_scenes(
    tasks: Mapping[str, TaskTerms],
    slices: Mapping[str, slice],
    state: RobotState,
    trail: Tensor,
    robot: Robot,
    conduct: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Scene]:
    """What the terms of each task look at, by the task's name.

    Args:
        slices: the envs of each task, of N.
        state: the robots (N, ...).
        trail: (N, S, 2) m, see `Scene`.
        conduct: (N,) each, see `Scene`.
    """
    reference = RobotState.cat([task.command.reference.now() for task in tasks.values()])
    deviation, dt = Deviation.of(state, reference), robot.control_dt
    return {
        name: Scene(
            *(state[part], reference[part], deviation[part], tasks[name].command, trail[part], dt, robot),
            conduct={key: x[part] for key, x in conduct.items()},
        )
        for name, part in slices.items()
    }
