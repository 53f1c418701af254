"""Track clips with the whole body."""

from . import terms
from .motion_command import MotionCommand
from .task import Task, TaskContext, weighted

EVALUATED_START = 0.1
"""Evaluated episodes start within this share of a clip."""


def build(context: TaskContext, *, masked: bool = False) -> Task:
    """The tracking task of some worlds."""
    config = context.config
    return Task(
        command=MotionCommand(
            context.n,
            context.library,
            config,
            context.robot.control_dt,
            context.masks if masked else None,
            context.generator,
            start_within=EVALUATED_START if context.evaluation else 1.0,
        ),
        rewards=weighted(config.track.rewards, "env.track.rewards"),
        terminations={"body_off": terms.any_body_off(config.track.termination_distance)},
        failures={"mean_body_off": terms.mean_body_off(0.5)},
        metrics={"cartesian_err": terms.cartesian_err},
    )
