"""A task: a command and dicts of named terms. Nothing to inherit from."""

from dataclasses import dataclass, field, replace

import torch

from protege.core.errors import UserError
from protege.core.motions import MotionLibrary
from protege.core.robots.robot import Robot

from ..env_config import EnvConfig
from ..references.gait_set import GaitSet
from .command import Command
from .locomotion_command import Kind, LocomotionCommand
from .masks import MaskSampler
from .terms import REWARDS, Metric, Term, any_body_off


@dataclass(frozen=True)
class Task:
    """What some worlds are asked to do.

    Attributes:
        command: draws what is asked and the reference that does it.
        rewards: weight and term by name.
        terminations: end a training episode as failed.
        failures: end an evaluation episode as failed; the task's published failure rule.
        metrics: measured over each episode.
    """

    command: Command
    rewards: dict[str, tuple[float, Term]]
    terminations: dict[str, Term]
    failures: dict[str, Term]
    metrics: dict[str, Metric] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskContext:
    """What a task is built from.

    Attributes:
        n: worlds.
        evaluation: asks for failure rules, clips from near their start, commands that change less often, and plans in turn.
    """

    n: int
    config: EnvConfig
    robot: Robot
    library: MotionLibrary
    gaits: GaitSet | None
    masks: MaskSampler
    generator: torch.Generator
    device: torch.device
    evaluation: bool


def weighted(weights: dict[str, float], key: str) -> dict[str, tuple[float, Term]]:
    """Reward terms by name, with their weights.

    Raises:
        UserError: on a name that is not in `terms.REWARDS`; `key` is the config key to blame.
    """
    if unknown := set(weights) - set(REWARDS):
        raise UserError(f"{key}: unknown reward term {min(unknown)!r}", f"Known: {', '.join(REWARDS)}")
    return {name: (weight, REWARDS[name]) for name, weight in weights.items()}


def locomotion_command(context: TaskContext, kind: Kind) -> LocomotionCommand:
    """The command of a path, goal or steering task."""
    assert context.gaits is not None
    config, evaluation = context.config, context.evaluation
    steering, path = config.steering_params.when(evaluation), config.path_follower_params.when(evaluation)
    config = replace(config, steering_params=steering, path_follower_params=path)
    return LocomotionCommand(
        context.n,
        kind,
        context.gaits,
        config,
        context.robot.control_dt,
        context.masks,
        context.generator,
        in_turn=context.evaluation,
    )


def out_of_step(distance: float) -> dict[str, Term]:
    """The termination that a locomotion task has besides its own: a body is over `distance` (m) off the reference. 0: none."""
    return {"out_of_step": any_body_off(distance)} if distance > 0.0 else {}
