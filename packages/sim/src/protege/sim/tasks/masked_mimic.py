"""Track clips of which only some bodies at some times are shown."""

from . import track
from .task import Task, TaskContext


def build(context: TaskContext) -> Task:
    return track.build(context, masked=True)
