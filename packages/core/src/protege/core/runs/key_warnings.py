"""What is to be said about config keys that were given but have no effect, or a bad one."""

from collections.abc import Sequence
from typing import Any

from ..tasks import Task, tasks
from .config import Config


def warnings(config: Config, keys: Sequence[str], kind: str) -> list[str]:
    """What is to be said about keys that were given: their task has no envs, or a tracker's envs are paid by two measures."""
    env, stages = config.env, getattr(config.agent, "curriculum", [])
    mixes = [stage.task_mix for stage in stages] or [env.task_mix]
    active = [task for name, task in tasks().items() if any(mix.get(name, 0.0) > 0.0 for mix in mixes)]
    idle = {f"env.{task.config_key}": task for task in tasks().values() if task not in active}
    if env.mix_probability > 0.0 and any(task.mixes for task in active):
        idle = {}  # some envs show other tasks' commands
    lines = [
        f"{key} has no effect: no env has the task {task.name}. The names of its presets begin with {task.kind}"
        for key in keys
        if (task := idle.get(".".join(key.split(".")[:2]))) and task.kind != "tracker"  # also read by masked tracking
    ]
    if kind == "tracker" and any("reward" in key for key in keys):
        paid = [(task.config_key, _pay(task, getattr(env, task.config_key))) for task in active]
        paid = [(key, pay) for key, pay in paid if pay]
        lines += [
            f"env.{key}.rewards are not those of env.{paid[0][0]}: a tracker, which is not told its task, "
            "learns badly from both"
            for key, pay in paid
            if pay != paid[0][1]
        ]
    return lines


def _pay(task: Task, params: Any) -> dict[str, float]:
    """The weights of a task's rewards that are not zero."""
    return {term: weight for term, weight in task.reward_weights(params).items() if weight != 0.0}
