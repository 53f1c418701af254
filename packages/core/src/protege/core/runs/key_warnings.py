"""What is to be said about config keys that were given but have no effect, or a bad one."""

from collections.abc import Sequence
from typing import Any

from .config import Config

TRAINED_BY = {
    "env.masked_mimic_params": ("masked_mimic", "protege core train masked_mimic/path_follower"),
    "env.path_follower_params": ("path", "protege teachers train path_follower"),
    "env.goal_params": ("goal", "protege teachers train goal_directed"),
    "env.steering_params": ("steering", "protege teachers train steering"),
}
"""By the key of a task's parameters: the task, and the command that trains its teacher."""


def warnings(config: Config, keys: Sequence[str], kind: str) -> list[str]:
    """What is to be said about keys that were given: their task has no worlds, or a tracker's worlds are paid by two measures."""
    env, stages = config.env, getattr(config.agent, "curriculum", [])
    mixes = [stage.task_mix for stage in stages] or [env.task_mix]
    tasks = {task for mix in mixes for task, weight in mix.items() if weight > 0.0}
    if env.mix_probability > 0.0 and tasks & {"path", "goal"}:
        tasks |= {"masked_mimic", "steering"}  # such worlds also show poses and steering commands
    lines = []
    for key in keys:
        task, command = TRAINED_BY.get(".".join(key.split(".")[:2]), ("", ""))
        if task and task not in tasks:
            lines.append(f"{key} has no effect: no world has the task {task}. Its teacher's command: {command}")
    if kind == "tracker" and any("reward" in key for key in keys):
        params = {"env.track": "track"} | {key: task for key, (task, _) in TRAINED_BY.items()}
        paid = [
            (key, _pay(getattr(env, key.removeprefix("env."))))
            for key, task in params.items()
            if task in tasks - {"masked_mimic"}
        ]
        lines += [
            f"{key}.rewards are not those of {paid[0][0]}: a tracker, which is not told its task, learns badly from both"
            for key, pay in paid
            if pay != paid[0][1]
        ]
    return lines


def _pay(params: Any) -> dict[str, float]:
    """The weights of a task's rewards that are not zero."""
    weights = {**params.rewards, "goal_closeness": getattr(params, "goal_reward_weight", 0.0)}
    return {term: weight for term, weight in weights.items() if weight != 0.0}
