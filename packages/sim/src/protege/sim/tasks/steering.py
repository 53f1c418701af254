"""Move in a commanded direction at 0-1.5 m/s; both change every 3-6 s."""

from . import terms
from .task import Task, TaskContext, locomotion_command, out_of_step, weighted


def build(context: TaskContext) -> Task:
    """The steering task of some worlds."""
    params = context.config.steering_params
    rules = {"fallen": terms.fallen, "heading_off": terms.heading_off(params.max_heading_error)}
    return Task(
        command=locomotion_command(context, "steering"),
        rewards=weighted(params.rewards, "env.steering_params.rewards"),
        terminations={**rules, **out_of_step(params.body_termination_distance)},
        failures=rules,
        metrics={"steering_err": terms.steering_err, "steering_err_instant": terms.steering_err_instant},
    )
