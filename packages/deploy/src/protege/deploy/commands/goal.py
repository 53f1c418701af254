"""Goals: be at a point by a deadline, and stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from ..geometry import Array, Pose2D
from ..interface import Command, CommandSource, RobotReading
from ..safety.ranges import ANY, Ranges
from .order_values import as_points, check_frame, check_numbers


@dataclass(frozen=True)
class Goal:
    """The order to be at a point by a deadline, and to stay.

    Attributes:
        point: (x, y) m.
        seconds: s until then; by default 2 s and 0.8 m/s.
        frame: of the point.
    """

    point: tuple[float, float]
    seconds: float | None = None
    frame: str = "robot"

    def __post_init__(self) -> None:
        object.__setattr__(self, "point", as_points([self.point])[0])
        check_numbers(self, seconds=(0.0, 3600.0))
        check_frame(self.frame)

    def begin(self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = ANY) -> CommandSource:
        """The command, for a robot and a start that are where `frames` says."""
        point = frames[self.frame].to_world(np.array(self.point))
        distance = float(np.linalg.norm(point - frames["robot"].point))
        reach = ranges.reach(distance)
        return GoalCommand(point, _usual_time(distance) if self.seconds is None else self.seconds, reach)


@dataclass(frozen=True)
class GoalCommand:
    """Be at a point by a deadline, and stay.

    Attributes:
        point: (2,) m.
        deadline: s since the loop's start.
        reach: m; a point further away is shown so far from the robot, in its direction, with the time that this way takes.
    """

    reads_bodies: ClassVar[bool] = False
    point: Array
    deadline: float
    reach: float = float("inf")

    @classmethod
    def ahead(cls, start: Pose2D, offset: tuple[float, float], reach: float = float("inf")) -> Self:
        """A point so far ahead and to the left of a robot, m, with the training's time to get there."""
        return cls(start.to_world(np.array(offset)), _usual_time(float(np.hypot(*offset))), reach)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        way, left = self.point - reading.root_pos_w[:2], max(0.0, self.deadline - time)
        distance = float(np.linalg.norm(way))
        if distance <= self.reach:
            return Command(goal_w=self.point, goal_time_left=left)
        near = reading.root_pos_w[:2] + self.reach / distance * way
        return Command(goal_w=near, goal_time_left=min(left, _usual_time(self.reach)))

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Horizontal distance from the point at the deadline, or at the end of a shorter run, m."""
        last = min(int(np.searchsorted(time, self.deadline)), len(time) - 1)
        return {"goal_reaching_err": float(np.linalg.norm(root_pos_w[last, :2] - self.point))}


def _usual_time(distance: float) -> float:
    """The time that the training gives for a way, m: two seconds, and 0.8 m/s."""
    return 2.0 + distance / 0.8
