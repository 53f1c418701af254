"""Steering: go in a direction at a speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..geometry import Array, Pose2D
from ..interface import Command, CommandSource, RobotReading
from ..safety.ranges import ANY, Ranges
from .measured import STRIDE
from .order_values import MAX_SPEED, check_frame, check_numbers

SETTLING = 2.0  # s, before an error counts


@dataclass(frozen=True)
class Steering:
    """The order to go in a direction at a speed.

    Attributes:
        direction: degrees to the left.
        speed: m/s; 0 is to stand, less is to go backwards, facing the direction.
        facing: degrees to the left, where to look; by default where to go.
        frame: of both directions.
    """

    direction: float = 0.0
    speed: float = 1.0
    facing: float | None = None
    frame: str = "robot"

    def __post_init__(self) -> None:
        check_numbers(self, direction=(-1e6, 1e6), speed=(-MAX_SPEED, MAX_SPEED), facing=(-1e6, 1e6))
        check_frame(self.frame)

    def begin(self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = ANY) -> CommandSource:
        """The command, for a robot and a start that are where `frames` says."""
        frame = frames[self.frame]
        facing = None if self.facing is None else frame.direction(self.facing)
        return SteeringCommand(frame.direction(self.direction), ranges.clamp("steering_speed", self.speed), facing)


@dataclass(frozen=True)
class SteeringCommand:
    """Go in a direction at a speed.

    Attributes:
        direction: (2,) unit vector.
        speed: m/s; below zero backwards.
        facing: (2,) unit vector, where to look; by default where to go.
    """

    reads_bodies: ClassVar[bool] = False
    direction: Array
    speed: float
    facing: Array | None = None

    def __call__(self, time: float, reading: RobotReading) -> Command:
        return Command(steering_direction_w=self.direction, steering_speed=self.speed, steering_facing_w=self.facing)

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Error of the velocity over the last second, after two seconds of settling, m/s; nothing for a shorter run."""
        stride = max(1, round(STRIDE / (time[1] - time[0])))
        velocity = (root_pos_w[stride:, :2] - root_pos_w[:-stride, :2]) / (time[stride:] - time[:-stride])[:, None]
        counts = time[stride:] >= SETTLING
        error = np.linalg.norm(velocity - self.speed * self.direction, axis=1)[counts]
        return {"steering_err": float(error.mean())} if len(error) else {}
