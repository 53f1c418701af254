"""Follow a smooth random path at 0.5-1.5 m/s: be at each of its points at that point's time."""

from . import terms
from .path_rules import OFF_PATH
from .task import Task, TaskContext, locomotion_command, out_of_step, weighted


def build(context: TaskContext) -> Task:
    """The path following task of some worlds."""
    params = context.config.path_follower_params
    terminations = {"fallen": terms.fallen, **out_of_step(params.body_termination_distance)}
    if params.enable_path_termination:
        terminations["off_path"] = terms.off_path(params.path_termination_distance)
    command = locomotion_command(context, "path")
    failures = {"fallen": terms.fallen, "off_path": terms.off_path(OFF_PATH)}
    if command.path_clock is not None:
        failures |= {"path_lost": terms.path_lost, "too_late": terms.too_late}
    return Task(
        command=command,
        rewards=weighted(params.rewards, "env.path_follower_params.rewards"),
        terminations=terminations,
        failures=failures,
        metrics={"path_following_err": terms.path_following_err},
    )
