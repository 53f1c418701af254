"""What a command can say about a run: notes while it is followed, and by how much it was missed."""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from ..interface import Array, Command, RobotReading

STRIDE = 1.0  # s, over which a velocity is averaged: a gait cycle


@runtime_checkable
class MeasuredCommand(Protocol):
    """A command source that can say how well it was obeyed."""

    reads_bodies: ClassVar[bool]
    """Whether that takes the poses of all bodies, or the root's way alone."""

    def __call__(self, time: float, reading: RobotReading) -> Command: ...

    def errors(self, time: Array, root_pos_w: Array, body_pos_w: Array | None, /) -> dict[str, float]:
        """Of a run: time (T,) s, root_pos_w (T, 3) m, body_pos_w (T, B, 3) m, if it reads them -> the task's metrics."""
        ...


class Note(NamedTuple):
    """Something that a command source has to say about a run: s since its start, one line."""

    time: float
    message: str
