"""The tasks that can be evaluated, by the names used on the command line; each task defines its own metric."""

from dataclasses import replace
from typing import Any

from protege.core.tasks import Task, tasks


def _variants(task: Task) -> dict[str, Task]:
    """A task's variants as separate tasks, by `<task>/<variant>`."""
    return {f"{task.name}/{name}": replace(task, title=variant.title) for name, variant in task.variants.items()}


EVALUATED: dict[str, Task] = {**tasks(), **{key: x for task in tasks().values() for key, x in _variants(task).items()}}
"""Everything that can be evaluated."""

UNIFIED = tuple(name for name, task in tasks().items() if task.unified)
"""The tasks on which a student is evaluated."""


EVALUATION_ONLY = {f"{task.name}_{name}": (task, name) for task in tasks().values() for name in task.evaluation_only}
"""Parameters that only evaluations read, by their name in the results: the task and the parameter."""


def default_tasks(kind: str) -> tuple[str, ...]:
    """The tasks on which a policy is evaluated by default, by its checkpoint's kind: those that it was trained on or teaches."""
    return tuple(name for name, task in tasks().items() if kind in (task.kind, task.taught_by)) or UNIFIED


def _options() -> dict[str, tuple[str, ...]]:
    options = {"distillation/tasks/unified_evaluation": UNIFIED}
    for task in tasks().values():
        names = [_variants(tasks()[name]) or (name,) for name in default_tasks(task.kind)]
        options[f"masked_mimic/tasks/{task.option}"] = tuple(name for several in names for name in several)
    return options


OPTIONS = _options()
"""Values of `--opt`, and the tasks that each selects."""


def env_overrides(name: str) -> dict[str, Any]:
    """The values of the env config that an evaluated task changes."""
    task, variant = EVALUATED[name], name.partition("/")[2]
    return {task.config_key: task.variants[variant].params} if variant else {}
