"""Track clips of which only some bodies at some times are shown."""

from . import track
from .task import Task, TaskContext


def build(context: TaskContext) -> Task:
    """The masked tracking task of some worlds."""
    return track.build(context, masked=True)
