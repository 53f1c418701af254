"""Track clips with the whole body."""

from .. import terms
from ..commands.motion import MotionCommand
from .task import Task, TaskContext, weighted


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
            from_start=context.evaluation,
        ),
        rewards=weighted(config.track.rewards, "env.track.rewards"),
        terminations={"body_off": terms.any_body_off(config.track.termination_distance)},
        failures={"mean_body_off": terms.mean_body_off(0.5)},
        metrics={"cartesian_err": terms.cartesian_err},
    )
