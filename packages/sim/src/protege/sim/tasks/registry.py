"""The tasks: to add one, write a file and a line here."""

from collections.abc import Callable

from . import goal, masked_mimic, path, steering, track
from .task import Task, TaskContext

TASKS: dict[str, Callable[[TaskContext], Task]] = {
    "track": track.build,
    "masked_mimic": masked_mimic.build,
    "path": path.build,
    "goal": goal.build,
    "steering": steering.build,
}

LOCOMOTION = ("path", "goal", "steering")

__all__ = ["LOCOMOTION", "TASKS", "Task", "TaskContext"]
