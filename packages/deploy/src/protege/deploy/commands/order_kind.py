"""How this runtime handles a modality. Other modalities are ordered by the model inputs that `policy.json` lists."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from ..geometry import Array, Pose2D
from ..interface import Command, CommandSource, RobotReading
from ..policy.metadata import Metadata
from ..safety.ranges import UNLIMITED, Ranges
from .measured import MeasuredCommand

CommandHistory = Sequence[tuple[Command, Array]]
"""Command and root position, (2,) m, of each control step so far; the last entry is the present step."""


@runtime_checkable
class OrderPart(Protocol):
    """An order of one modality."""

    def begin(
        self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = UNLIMITED
    ) -> CommandSource:
        """The command source, given the pose of each frame."""
        ...


class RunContext(NamedTuple):
    """The run that a command is made for: the robot's pose, duration in s, `Metadata.path_times`, the policy's command ranges."""

    start: Pose2D
    seconds: float
    times: Sequence[float]
    ranges: Ranges = UNLIMITED


class Shortcut(NamedTuple):
    """An order that one key or button gives.

    Attributes:
        order: the order.
        words: its description, one line.
        key: of a keyboard.
        button: of a gamepad, its number.
    """

    order: OrderPart
    words: str
    key: str
    button: int


@dataclass(frozen=True)
class OrderKind:
    """How one modality is ordered, driven, measured and drawn.

    Attributes:
        name: as `policy.json` has it.
        order: dataclass of its orders, a `OrderPart`; its fields are the keys that a user gives.
        from_options: values of `options` -> the command.
        random: draws a command from the range that policies are trained on.
        of_clip: a clip's root (T, 2) m, its present control step, s between two steps, `path_times`, the reading -> fields of a
            `Command` that the clip itself follows.
        unit: of `error`.
        error: tracking error of the present step; None without a command, NaN while the history is too short.
        drawn: the command and the root (2,) m -> points (P, 2) m of a line on the ground, one point for a ball, or None.
        segments: of that line; 0 for a ball.
        options: of `protege-deploy run --task`: arguments of `click.option` by flag.
        shortcut: an order that a key gives.
        speed_range: the entry of `command_ranges` that limits its speed, if any.
        of_velocity: a velocity (..., 3) and its array library -> the model's inputs for it; None if a velocity cannot be expressed.
        velocity_of: a command and the reading -> the velocity (3,) m/s ahead, m/s to the left, rad/s to the left, that follows it;
            None if the command has no fields of this modality.
    """

    name: str
    order: type
    from_options: Callable[[Mapping[str, Any], RunContext], MeasuredCommand]
    random: Callable[[np.random.Generator, RunContext], MeasuredCommand]
    of_clip: Callable[[Array, int, float, Sequence[float], RobotReading], dict[str, Any]]
    unit: str
    error: Callable[[CommandHistory, Metadata], float | None]
    drawn: Callable[[Command, Array], Array | None]
    segments: int = 0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shortcut: Shortcut | None = None
    speed_range: str = ""
    of_velocity: Callable[..., dict[str, Any]] | None = None
    velocity_of: Callable[[Command, RobotReading], Array | None] | None = None


SPEED_OPTION: Mapping[str, Mapping[str, Any]] = {
    "--speed": {"default": 1.0, "help": "speed, m/s; negative is backwards"}
}
"""The option of every kind that has a speed."""
