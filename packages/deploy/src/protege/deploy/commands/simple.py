"""Simple commands in the world frame (x forward, y left, z up), each with the error that its task is measured by.

All begin where the robot is and count angles from where it faces at the start.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np

from ..interface import Array, Command, RobotReading
from .path_clock import PathClock

logger = logging.getLogger("protege.deploy")

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


class Note(NamedTuple):
    """Something that a command source has to say about a run: s since its start, one line."""

    time: float
    message: str


class PathCommand:
    """Follow a line on the ground. The line's clock waits for the robot, see `PathClock`.

    Once the line has come to its end, or is given up, nothing is commanded any more, and the robot is to stand.

    Args:
        knots: (T,) s, rising from 0.
        points: (T, 2) m, where the line is at these times of its clock; straight and even between them.
        times: s ahead of the points that the policy sees (`Metadata.path_times`).

    Attributes:
        lead: s before its end at which the line is over, for who then has another command.
        notes: whether and when the line came to its end or was given up.
    """

    reads_bodies: ClassVar[bool] = False

    def __init__(self, knots: Array, points: Array, times: Sequence[float]) -> None:
        self._knots, self._points, self._times, self.lead = knots, points, np.asarray(times), 0.0
        self._clock, self.notes = self._new_clock(), list[Note]()

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

    @property
    def over(self) -> bool:
        """Whether it commands nothing any more."""
        return bool(self.notes)

    @property
    def lost(self) -> bool:
        """Whether the line was given up."""
        return bool(self._clock.lost)

    @property
    def rest(self) -> tuple[Array, float]:
        """Where the line ends, (2,) m, and how long it is until then by its clock, s."""
        return self._points[-1], max(0.0, float(self._knots[-1]) - self._clock.now)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        if time == 0.0:  # another run, perhaps
            self._clock, self.notes = self._new_clock(), []
        if not self.over:
            self._clock.advance(time, reading.root_pos_w[:2])
            self._note(time)
        return Command() if self.over else Command(path_w=self.position(self._clock.now + self._times))

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """As long as the line is followed: how far the root is from the line's point, m, and how long that has waited, s.

        That point is the one of the line's own clock, which the policy is told to be at: `path_following_err`, its mean, and
        `path_following_err_max`. `path_lag` is how far that clock is behind the commands' clock.
        """
        if not len(time):  # stopped before its first step
            return {}
        clock, distances, moment = self._new_clock(), list[float](), 0.0
        for moment, here in zip(time, root_pos_w[:, :2], strict=True):
            clock.advance(float(moment), here)
            distances.append(float(np.linalg.norm(here - self.position(clock.now))))
            if clock.done or clock.lost:
                break
        return {
            "path_following_err": float(np.mean(distances)),
            "path_following_err_max": max(distances),
            "path_lag": float(moment) - clock.now,
        }

    def _new_clock(self) -> PathClock:
        return PathClock(self.position, float(self._knots[-1]) - self.lead)

    def _note(self, time: float) -> None:
        if self._clock.lost:
            self.notes.append(Note(time, self._clock.lost))
            logger.warning("%s", self._clock.lost)
        elif self._clock.done:
            self.notes.append(Note(time, f"path done, {time - self._clock.now:.1f} s late"))


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
    def ahead(cls, reading: RobotReading, offset: tuple[float, float], reach: float = float("inf")) -> Self:
        """A point so far ahead and to the left of the robot, m."""
        point = reading.root_pos_w[:2] + _turned(np.array(offset), reading.yaw)
        return cls.reachable(point, float(np.hypot(*offset)), reach)

    @classmethod
    def reachable(cls, point: Array, distance: float, reach: float = float("inf")) -> Self:
        """A point (2,) m with the training's time to get there, over the distance, m."""
        return cls(point, _goal_time(distance), reach)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        way, left = self.point - reading.root_pos_w[:2], max(0.0, self.deadline - time)
        distance = float(np.linalg.norm(way))
        if distance <= self.reach:
            return Command(goal_w=self.point, goal_time_left=left)
        near = reading.root_pos_w[:2] + self.reach / distance * way
        return Command(goal_w=near, goal_time_left=min(left, _goal_time(self.reach)))

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


def _goal_time(distance: float) -> float:
    """The time that the training gives for a way, m: two seconds, and 0.8 m/s."""
    return 2.0 + distance / 0.8


def standing(reading: RobotReading, modalities: Collection[str], path_points: int) -> Command:
    """To stand where a robot is and to look where it looks, by the first of steering, goal and path that its policy takes.

    Args:
        reading: of the robot as it is told to stand.
        modalities: what the policy takes.
        path_points: how many points a path has.
    """
    here = np.array(reading.root_pos_w[:2])
    if "steering" in modalities:
        return Command(steering_direction_w=_turned(np.array([1.0, 0.0]), reading.yaw), steering_speed=0.0)
    if "goal" in modalities:
        return Command(goal_w=here, goal_time_left=0.0)
    return Command(path_w=np.tile(here, (path_points, 1))) if "path" in modalities else Command()


def _length(seconds: float, times: Sequence[float]) -> int:
    """Samples of a path that is seen ahead to its end."""
    return int(np.ceil((seconds + max(times)) / STEP)) + 2


def _turned(vector: Array, angle: float) -> Array:
    """(2,) turned to the left by an angle, rad."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])
