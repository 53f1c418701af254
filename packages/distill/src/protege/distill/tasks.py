"""Which tasks are evaluated, by the names that commands take; what is measured on each is said by the task itself."""

from dataclasses import replace
from typing import Any

from protege.core.tasks import Task, tasks


def _variants(task: Task) -> dict[str, Task]:
    """A task's variants as tasks of their own, by `<task>/<variant>`."""
    return {f"{task.name}/{name}": replace(task, title=variant.title) for name, variant in task.variants.items()}


EVALUATED: dict[str, Task] = {**tasks(), **{key: x for task in tasks().values() for key, x in _variants(task).items()}}
"""Everything that can be evaluated."""

UNIFIED = tuple(name for name, task in tasks().items() if task.unified)
"""What a student is evaluated on."""


EVALUATION_ONLY = {f"{task.name}_{name}": (task, name) for task in tasks().values() for name in task.evaluation_only}
"""Parameters that only evaluations read, each with its task, by the names that results state them under."""


def default_tasks(kind: str) -> tuple[str, ...]:
    """What a policy is evaluated on if nothing else is asked, by its checkpoint's kind: what it was trained on or teaches."""
    return tuple(name for name, task in tasks().items() if kind in (task.kind, task.taught_by)) or UNIFIED


def _options() -> dict[str, tuple[str, ...]]:
    options = {"distillation/tasks/unified_evaluation": UNIFIED}
    for task in tasks().values():
        names = [_variants(tasks()[name]) or (name,) for name in default_tasks(task.kind)]
        options[f"masked_mimic/tasks/{task.option}"] = tuple(name for several in names for name in several)
    return options


OPTIONS = _options()
"""Evaluation options by name, and the tasks that they ask for."""


def env_overrides(name: str) -> dict[str, Any]:
    """What of the environment's config an evaluated task needs to be otherwise."""
    task, variant = EVALUATED[name], name.partition("/")[2]
    return {task.config_key: task.variants[variant].params} if variant else {}
