"""Simple commands in the world frame (x forward, y left, z up), each with the error that its task is measured by.

All begin where the robot is and count angles from where it faces at the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np

from .interface import Array, Command, RobotReading

STEP = 1.0 / 120.0  # s, of the integration of paths
SETTLING = 2.0  # s, before a steering error counts
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


class PathCommand:
    """Follow a line on the ground.

    Args:
        knots: (T,) s, rising.
        points: (T, 2) m, where the line is at these times; straight and even between them.
        times: s ahead of the points that the policy sees (`Metadata.path_times`).
    """

    reads_bodies: ClassVar[bool] = False

    def __init__(self, knots: Array, points: Array, times: Sequence[float]) -> None:
        self._knots, self._points, self._times = knots, points, np.asarray(times)

    @classmethod
    def driven(cls, start: Array, heading: float, speed: Array, turn_rate: Array, times: Sequence[float]) -> Self:
        """From start (2,) m and heading rad on, by speed (T,) m/s and turn rate (T,) rad/s, to the left, every `STEP`."""
        angle = heading + STEP * (np.cumsum(turn_rate) - turn_rate[0])
        velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        travelled = STEP * np.cumsum(velocity, axis=0)
        return cls(STEP * np.arange(len(speed)), np.asarray(start)[:2] + travelled - travelled[0], times)

    @classmethod
    def bent(
        cls, start: Array, heading: float, speed: float, turn_rate: float, seconds: float, times: Sequence[float]
    ) -> Self:
        """Straight, or along a circle: speed in m/s, turn rate in rad/s to the left, for so many seconds."""
        ones = np.ones(int(np.ceil(seconds / STEP)) + 2)
        return cls.driven(start, heading, speed * ones, turn_rate * ones, times)

    @classmethod
    def along(cls, points: Array, speed: float, times: Sequence[float]) -> Self:
        """From point to point (T, 2) m, straight, at a speed in m/s."""
        length = np.linalg.norm(np.diff(points, axis=0), axis=1)
        moves = np.concatenate([[True], length > 1e-9])
        return cls(np.concatenate([[0.0], np.cumsum(length)])[moves] / speed, points[moves], times)

    @classmethod
    def steady(
        cls, reading: RobotReading, speed: float, turn_rate: float, seconds: float, times: Sequence[float]
    ) -> Self:
        """`bent` from where the robot is, long enough to be seen ahead to the end of a run of so many seconds."""
        return cls.bent(reading.root_pos_w[:2], reading.yaw, speed, turn_rate, seconds + max(times), times)

    @classmethod
    def random(cls, reading: RobotReading, seed: int, seconds: float, times: Sequence[float]) -> Self:
        """Like the training's paths: 0.5 to 1.5 m/s, up to 0.8 rad/s, linear between knots 1 to 2 s apart; for so many seconds."""
        generator, now = np.random.default_rng(seed), STEP * np.arange(_length(seconds, times))
        knots = np.cumsum(generator.uniform(1.0, 2.0, int(now[-1]) + 2)) - 1.0
        speed = np.interp(now, knots, generator.uniform(0.5, 1.5, len(knots)))
        turn_rate = np.interp(now, knots, generator.uniform(-0.8, 0.8, len(knots)))
        return cls.driven(reading.root_pos_w[:2], reading.yaw, speed, turn_rate, times)

    def position(self, time: float | Array) -> Array:
        """Where the line is at a time (...) s: (..., 2) m; it ends at its last point."""
        return np.stack([np.interp(time, self._knots, self._points[:, axis]) for axis in range(2)], axis=-1)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        return Command(path_w=self.position(time + self._times))

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Horizontal distance of the root from the point of the same time, m."""
        distance = np.linalg.norm(root_pos_w[:, :2] - self.position(time), axis=1)
        return {"path_following_err": float(distance.mean()), "path_following_err_max": float(distance.max())}


@dataclass(frozen=True)
class GoalCommand:
    """Be at a point by a deadline, and stay.

    Attributes:
        point: (2,) m.
        deadline: s since the loop's start.
    """

    reads_bodies: ClassVar[bool] = False
    point: Array
    deadline: float

    @classmethod
    def ahead(cls, reading: RobotReading, offset: tuple[float, float]) -> Self:
        """A point so far ahead and to the left of the robot, m."""
        point = reading.root_pos_w[:2] + _turned(np.array(offset), reading.yaw)
        return cls.reachable(point, float(np.hypot(*offset)))

    @classmethod
    def reachable(cls, point: Array, distance: float) -> Self:
        """A point (2,) m with the training's time to get there: two seconds, and 0.8 m/s over the distance, m."""
        return cls(point, 2.0 + distance / 0.8)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        return Command(goal_w=self.point, goal_time_left=max(0.0, self.deadline - time))

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Horizontal distance from the point at the deadline, or at the end of a shorter run, m."""
        last = min(int(np.searchsorted(time, self.deadline)), len(time) - 1)
        return {"goal_reaching_err": float(np.linalg.norm(root_pos_w[last, :2] - self.point))}


@dataclass(frozen=True)
class SteeringCommand:
    """Go in a direction at a speed.

    Attributes:
        direction: (2,) unit vector.
        speed: m/s.
        facing: (2,) unit vector, where to look; by default where to go.
    """

    reads_bodies: ClassVar[bool] = False
    direction: Array
    speed: float
    facing: Array | None = None

    @classmethod
    def towards(cls, reading: RobotReading, angle: float, speed: float) -> Self:
        """An angle (rad) to the left of where the robot faces."""
        return cls(_turned(np.array([1.0, 0.0]), reading.yaw + angle), speed)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        return Command(steering_direction_w=self.direction, steering_speed=self.speed, steering_facing_w=self.facing)

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Error of the velocity over the last second, after two seconds of settling, m/s; nothing for a shorter run."""
        stride = max(1, round(STRIDE / (time[1] - time[0])))
        velocity = (root_pos_w[stride:, :2] - root_pos_w[:-stride, :2]) / (time[stride:] - time[:-stride])[:, None]
        counts = time[stride:] >= SETTLING
        error = np.linalg.norm(velocity - self.speed * self.direction, axis=1)[counts]
        return {"steering_err": float(error.mean())} if len(error) else {}


def _length(seconds: float, times: Sequence[float]) -> int:
    """Samples of a path that is seen ahead to its end."""
    return int(np.ceil((seconds + max(times)) / STEP)) + 2


def _turned(vector: Array, angle: float) -> Array:
    """(2,) turned to the left by an angle, rad."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])
