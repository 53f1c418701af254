"""Follow a smooth random path at 0.5-1.5 m/s: be at each of its points at that point's time."""

from .. import terms
from .task import Task, TaskContext, locomotion_command, out_of_step, weighted


def build(context: TaskContext) -> Task:
    """The path following task of some worlds."""
    params = context.config.path_follower_params
    terminations = {"fallen": terms.fallen, **out_of_step(params.body_termination_distance)}
    if params.enable_path_termination:
        terminations["off_path"] = terms.off_path(params.path_termination_distance)
    return Task(
        command=locomotion_command(context, "path"),
        rewards=weighted(params.rewards, "env.path_follower_params.rewards"),
        terminations=terminations,
        failures={"fallen": terms.fallen, "off_path": terms.off_path(2.0)},
        metrics={"path_following_err": terms.path_following_err},
    )
