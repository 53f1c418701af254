"""Goals: be at a point by a deadline, and stay."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from ..geometry import Array, Pose2D
from ..interface import Command, CommandSource, RobotReading
from ..policy.metadata import Metadata
from ..safety.ranges import UNLIMITED, Ranges
from .order_kind import CommandHistory, OrderKind, RunContext, Shortcut
from .order_values import as_points, check_frame, check_numbers


@dataclass(frozen=True)
class Goal:
    """The order to be at a point by a deadline, and to stay.

    Attributes:
        point: (x, y) m.
        seconds: time until the deadline; by default 2 s plus the distance at 0.8 m/s.
        frame: of the point.
    """

    point: tuple[float, float]
    seconds: float | None = None
    frame: str = "robot"

    def __post_init__(self) -> None:
        object.__setattr__(self, "point", as_points([self.point])[0])
        check_numbers(self, seconds=(0.0, 3600.0))
        check_frame(self.frame)

    def begin(
        self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = UNLIMITED
    ) -> CommandSource:
        """The command source, given the pose of each frame."""
        point = frames[self.frame].to_world(np.array(self.point))
        distance = float(np.linalg.norm(point - frames["robot"].point))
        reach = ranges.reach("goal_distance", distance)
        return GoalCommand(point, _training_time(distance) if self.seconds is None else self.seconds, reach)


@dataclass(frozen=True)
class GoalCommand:
    """Be at a point by a deadline, and stay.

    Attributes:
        point: (2,) m.
        deadline: s since the loop's start.
        reach: m; instead of a point further away, the command is the point at this distance in its direction, with the usual time.
    """

    reads_bodies: ClassVar[bool] = False
    point: Array
    deadline: float
    reach: float = float("inf")

    @classmethod
    def ahead(cls, start: Pose2D, offset: tuple[float, float], reach: float = float("inf")) -> Self:
        """A point at an offset (ahead, left) m from a robot, with the training's time to get there."""
        return cls(start.to_world(np.array(offset)), _training_time(float(np.hypot(*offset))), reach)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        way, left = self.point - reading.measured_root_pos_w[:2], max(0.0, self.deadline - time)
        distance = float(np.linalg.norm(way))
        if distance <= self.reach:
            return Command(goal_w=self.point, goal_time_left=left)
        near = reading.measured_root_pos_w[:2] + self.reach / distance * way
        return Command(goal_w=near, goal_time_left=min(left, _training_time(self.reach)))

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Horizontal distance from the point at the deadline, or at the end of a shorter run, m."""
        last = min(int(np.searchsorted(time, self.deadline)), len(time) - 1)
        return {"goal_reaching_err": float(np.linalg.norm(root_pos_w[last, :2] - self.point))}


def _training_time(distance: float) -> float:
    """The training's time for a distance in m, s: two seconds plus the distance at 0.8 m/s."""
    return 2.0 + distance / 0.8


# The order kind ----------------------------------------------------------------------------------------------------------


def from_options(options: Mapping[str, Any], run: RunContext) -> GoalCommand:
    """The point that `--goal` names."""
    offset = options["goal"]
    return GoalCommand.ahead(run.start, offset, run.ranges.reach("goal_distance", float(np.hypot(*offset))))


def random(generator: np.random.Generator, run: RunContext) -> GoalCommand:
    """A point ahead, up to 4.5 m away."""
    return GoalCommand.ahead(run.start, (float(generator.uniform(0.5, 4.0)), float(generator.uniform(-2.0, 2.0))))


def of_clip(root: Array, now: int, dt: float, times: Sequence[float], reading: RobotReading) -> dict[str, Any]:
    """Where a clip ends, and when."""
    return {"goal_w": root[-1], "goal_time_left": dt * (len(root) - 1 - now)}


def error(past: CommandHistory, metadata: Metadata) -> float | None:
    """Distance from the point, m."""
    command, root = past[-1]
    return None if command.goal_w is None else float(np.linalg.norm(root - command.goal_w))


KIND = OrderKind(
    name="goal",
    order=Goal,
    from_options=from_options,
    random=random,
    of_clip=of_clip,
    unit="m",
    error=error,
    drawn=lambda command, root: None if command.goal_w is None else np.atleast_2d(command.goal_w),
    options={"--goal": {"nargs": 2, "default": (3.0, 0.0), "help": "place of the goal: m ahead, m to the left"}},
    shortcut=Shortcut(Goal((2.0, 0.0)), "goal 2 m ahead", key="g", button=1),
)
