"""Stand within half a metre of a point 1-4 m away when the deadline comes."""

from . import terms
from .task import Task, TaskContext, locomotion_command, out_of_step, weighted


def build(context: TaskContext) -> Task:
    """The goal task of some worlds."""
    params = context.config.goal_params
    rewards = {**params.rewards, "goal_closeness": params.goal_reward_weight}
    return Task(
        command=locomotion_command(context, "goal"),
        rewards=weighted(rewards, "env.goal_params.rewards"),
        terminations={
            "fallen": terms.fallen,
            "root_off": terms.root_off(params.termination_distance),
            **out_of_step(params.body_termination_distance),
        },
        failures={"fallen": terms.fallen, "goal_missed": terms.goal_missed(params.success_distance)},
        metrics={"goal_reaching_err": terms.goal_reaching_err},
    )
