"""Warnings about config keys that have no effect or a harmful one."""

from collections.abc import Sequence
from typing import Any

from ..tasks import Task, tasks
from .config import Config


def warnings(config: Config, keys: Sequence[str], kind: str) -> list[str]:
    """Warnings about keys whose task has no envs, and about different reward weights of the tasks of a tracker's envs."""
    env, stages = config.env, getattr(config.agent, "curriculum", [])
    mixes = [stage.task_mix for stage in stages] or [env.task_mix]
    active = [task for name, task in tasks().items() if any(mix.get(name, 0.0) > 0.0 for mix in mixes)]
    unused = {f"env.{task.config_key}": task for task in tasks().values() if task not in active}
    if env.mix_probability > 0.0 and any(task.mixes for task in active):
        unused = {}  # some envs have other tasks' commands
    lines = [
        f"{key} has no effect: no env has the task {task.name}. The names of its presets begin with {task.kind}"
        for key in keys
        if (task := unused.get(".".join(key.split(".")[:2]))) and task.kind != "tracker"  # also read by masked tracking
    ]
    if kind == "tracker" and any("reward" in key for key in keys):
        weighted = [(task.config_key, _weights(task, getattr(env, task.config_key))) for task in active]
        weighted = [(key, weights) for key, weights in weighted if weights]
        lines += [
            f"env.{key}.rewards are not those of env.{weighted[0][0]}: a tracker does not observe its task, "
            "and learns badly from both"
            for key, weights in weighted
            if weights != weighted[0][1]
        ]
    return lines


def _weights(task: Task, params: Any) -> dict[str, float]:
    """The nonzero reward weights of a task."""
    return {term: weight for term, weight in task.reward_weights(params).items() if weight != 0.0}
