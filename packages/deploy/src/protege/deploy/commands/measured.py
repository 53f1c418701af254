"""Command sources that measure their own tracking error, and notes about a run."""

from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from ..geometry import Array
from ..interface import Command, RobotReading

STRIDE_SECONDS = 1.0  # over which a velocity is averaged: a gait cycle


@runtime_checkable
class MeasuredCommand(Protocol):
    """A command source that measures how well it was followed."""

    reads_bodies: ClassVar[bool]
    """Whether `errors` needs the positions of all bodies, not of the root alone."""

    def __call__(self, time: float, reading: RobotReading) -> Command: ...

    def errors(self, time: Array, root_pos_w: Array, body_pos_w: Array | None, /) -> dict[str, float]:
        """The task's metrics by name, of a run: time (T,) s, root_pos_w (T, 3) m, body_pos_w (T, B, 3) m if it reads bodies."""
        ...


@runtime_checkable
class EndingCommand(Protocol):
    """A command source that ends, after which the robot stands there.

    Attributes:
        lead: s by which it ends early, so that another command can follow.
        notes: when and how it ended; empty until then.
    """

    lead: float
    notes: list["Note"]

    @property
    def over(self) -> bool:
        """Whether it has ended or was given up."""
        ...

    @property
    def lost(self) -> bool:
        """Whether it was given up."""
        ...

    @property
    def rest(self) -> tuple[Array, float]:
        """Its end point, (2,) m, and the time until it gets there, s."""
        ...


class Note(NamedTuple):
    """A remark of a command source about a run: s since its start, one line."""

    time: float
    message: str
