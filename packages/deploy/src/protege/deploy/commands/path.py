"""Paths: follow a line on the ground. The line's clock waits for the robot."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import click
import numpy as np

from ..geometry import Array, Pose2D, turned
from ..interface import Command, CommandSource, RobotReading
from ..policy.metadata import Metadata
from ..safety.ranges import UNLIMITED, Ranges
from .measured import Note
from .order_kind import SPEED_OPTION, CommandHistory, OrderKind, RunContext, Shortcut
from .order_values import MAX_SPEED, as_points, check_frame, check_numbers
from .path_clock import PathClock

logger = logging.getLogger("protege.deploy")

INTEGRATION_STEP = 1.0 / 120.0  # s, for the integration of lines
FIRST_POINT_TIME, STANDING_DISTANCE = (
    0.5,
    0.02,
)  # s until the first point; m between two, below which the line stands still


@dataclass(frozen=True)
class Path:
    """The order to follow a line: through points, or with a constant turn rate.

    Attributes:
        points: (x, y) m, passed in this order, beginning where the robot is; empty: a line with a constant turn rate.
        speed: m/s.
        turn_rate: rad/s to the left, without points.
        seconds: s, duration without points. At its end, as at the last point, the robot stands.
        frame: of the points.
    """

    points: tuple[tuple[float, float], ...] = ()
    speed: float = 1.0
    turn_rate: float = 0.0
    seconds: float = 60.0
    frame: str = "robot"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", as_points(self.points))
        check_numbers(self, speed=(0.01, MAX_SPEED), turn_rate=(-10.0, 10.0), seconds=(0.1, 600.0))
        check_frame(self.frame)

    def begin(
        self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = UNLIMITED
    ) -> CommandSource:
        """The command source, given the pose of each frame."""
        here, speed = frames["robot"], ranges.clamp("path_speed", self.speed)
        if self.points:
            way = np.vstack([here.point, frames[self.frame].to_world(np.array(self.points))])
            return PathCommand.along(way, speed, path_times)
        # At another speed the line has the same shape: turn rate and duration change in proportion.
        turn_rate = ranges.clamp("path_turn_rate", self.turn_rate * speed / self.speed)
        return PathCommand.arc(here, speed, turn_rate, self.seconds * self.speed / speed, path_times)


class PathCommand:
    """Follow a line on the ground. The line's clock waits for the robot, see `PathClock`.

    Once the line has ended or was given up, the command is empty, and the robot stands.

    Args:
        knots: (T,) s of the line's clock, rising from 0.
        points: (T, 2) m, the line at these times; linear between them.
        times: s ahead, of the points in the command (`Metadata.path_times`).

    Attributes:
        lead: s by which the line ends early, so that another command can follow.
        notes: when and how the line ended; empty until then.
    """

    reads_bodies: ClassVar[bool] = False

    def __init__(self, knots: Array, points: Array, times: Sequence[float]) -> None:
        self._knots, self._points, self._times, self.lead = knots, points, np.asarray(times), 0.0
        self._axes = np.ascontiguousarray(points.T)  # `np.interp` would copy the columns of `points` at each call
        self._clock, self.notes = self._new_clock(), list[Note]()

    @classmethod
    def driven(cls, start: Pose2D, speed: Array, turn_rate: Array, times: Sequence[float]) -> Self:
        """Integrate speed (T,) m/s and turn rate (T,) rad/s to the left from a start, in steps of `INTEGRATION_STEP`."""
        angle = start.yaw + INTEGRATION_STEP * (np.cumsum(turn_rate) - turn_rate[0])
        velocity = speed[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        travelled = INTEGRATION_STEP * np.cumsum(velocity, axis=0)
        return cls(INTEGRATION_STEP * np.arange(len(speed)), start.point + travelled - travelled[0], times)

    @classmethod
    def arc(cls, start: Pose2D, speed: float, turn_rate: float, seconds: float, times: Sequence[float]) -> Self:
        """A straight line or a circle: speed in m/s, turn rate in rad/s to the left, duration in s."""
        ones = np.ones(int(np.ceil(seconds / INTEGRATION_STEP)) + 2)
        return cls.driven(start, speed * ones, turn_rate * ones, times)

    @classmethod
    def along(cls, points: Array, speed: float, times: Sequence[float]) -> Self:
        """Straight from point to point, (T, 2) m, at a speed in m/s."""
        length = np.linalg.norm(np.diff(points, axis=0), axis=1)
        moves = np.concatenate([[True], length > 1e-9])
        return cls(np.concatenate([[0.0], np.cumsum(length)])[moves] / speed, points[moves], times)

    @classmethod
    def random(cls, start: Pose2D, seed: int, seconds: float, times: Sequence[float]) -> Self:
        """Like the training's paths: 0.5 to 1.5 m/s, up to 0.8 rad/s, linear between knots 1 to 2 s apart.

        Args:
            start: the robot's pose.
            seed: of the random numbers.
            seconds: duration of the run; the path is longer by the last of `times`.
            times: s ahead, of the points in the command.
        """
        generator, now = (
            np.random.default_rng(seed),
            INTEGRATION_STEP * np.arange(int(np.ceil((seconds + max(times)) / INTEGRATION_STEP)) + 2),
        )
        knots = np.cumsum(generator.uniform(1.0, 2.0, int(now[-1]) + 2)) - 1.0
        speed = np.interp(now, knots, generator.uniform(0.5, 1.5, len(knots)))
        turn_rate = np.interp(now, knots, generator.uniform(-0.8, 0.8, len(knots)))
        return cls.driven(start, speed, turn_rate, times)

    def position(self, time: float | Array) -> Array:
        """The line's point at times (...) s of its clock, (..., 2) m; it stays at its last point."""
        return np.stack([np.interp(time, self._knots, axis) for axis in self._axes], axis=-1)

    @property
    def over(self) -> bool:
        """Whether the line has ended or was given up."""
        return bool(self.notes)

    @property
    def lost(self) -> bool:
        """Whether the line was given up."""
        return bool(self._clock.lost)

    @property
    def rest(self) -> tuple[Array, float]:
        """The line's last point, (2,) m, and the time until then by its clock, s."""
        return self._points[-1], max(0.0, float(self._knots[-1]) - self._clock.now)

    def __call__(self, time: float, reading: RobotReading) -> Command:
        if time == 0.0:  # this may be another run
            self._clock, self.notes = self._new_clock(), []
        if not self.over:
            self._clock.advance(time, reading.measured_root_pos_w[:2])
            self._note(time)
        return Command() if self.over else Command(path_w=self.position(self._clock.now + self._times))

    def resume(self) -> None:
        """Go on after a fall where the line's point was."""
        self._clock.resume()

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """The root's distance from the line's point at the line's clock, while the line is followed, and the clock's delay.

        Returns:
            `path_following_err`, the mean distance, m; `path_following_err_max`, m; `path_lag`, the delay of the line's clock
            behind the commands' clock, s.
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


# The order kind ----------------------------------------------------------------------------------------------------------


def from_options(options: Mapping[str, Any], run: RunContext) -> PathCommand:
    """A line with `--speed` and `--turn-rate`, or with `--seed` a random one."""
    speed, turn_rate, seed = (options[name] for name in ("speed", "turn_rate", "seed"))
    if seed is not None:
        return PathCommand.random(run.start, seed, run.seconds, run.times)
    slower = run.ranges.clamp("path_speed", speed)
    bend = run.ranges.clamp("path_turn_rate", turn_rate * slower / speed if speed else turn_rate)
    # At the end of the run the policy still sees the points ahead.
    return PathCommand.arc(run.start, slower, bend, run.seconds + max(run.times), run.times)


def random(generator: np.random.Generator, run: RunContext) -> PathCommand:
    """See `PathCommand.random`."""
    return PathCommand.random(run.start, int(generator.integers(2**31)), run.seconds, run.times)


def of_clip(root: Array, now: int, dt: float, times: Sequence[float], reading: RobotReading) -> dict[str, Any]:
    """The clip's positions at those times ahead."""
    ahead = np.rint(np.array(times) / dt).astype(int)
    return {"path_w": root[np.minimum(now + ahead, len(root) - 1)]}


def error(past: CommandHistory, metadata: Metadata) -> float | None:
    """Distance from the point that was last commanded for the present step, m."""
    if past[-1][0].path_w is None:
        return None
    steps = round(metadata.path_times[0] / metadata.control_dt)
    path = past[-1 - steps][0].path_w if len(past) > steps else None
    return np.nan if path is None else float(np.linalg.norm(past[-1][1] - path[0]))


def velocity_of(command: Command, reading: RobotReading) -> Array | None:
    """The velocity that reaches the first point at its time, and the turn rate towards the line's direction there."""
    if command.path_w is None:
        return None
    line = np.asarray(command.path_w)
    ahead, along = (
        turned(line[0] - reading.measured_root_pos_w[:2], -reading.yaw),
        turned(line[1] - line[0], -reading.yaw),
    )
    turns = np.arctan2(along[1], along[0]) if np.linalg.norm(along) > STANDING_DISTANCE else 0.0
    return np.array([*ahead, turns]) / FIRST_POINT_TIME


KIND = OrderKind(
    name="path",
    order=Path,
    from_options=from_options,
    random=random,
    of_clip=of_clip,
    unit="m",
    error=error,
    drawn=lambda command, root: None if command.path_w is None else np.vstack([root, command.path_w]),
    segments=10,
    options={
        **SPEED_OPTION,
        "--turn-rate": {"default": 0.0, "help": "turn rate to the left, rad/s"},
        "--seed": {"type": click.IntRange(min=0), "help": "seed of a random path"},
    },
    velocity_of=velocity_of,
    shortcut=Shortcut(Path(turn_rate=0.3), "path at 1 m/s, 0.3 rad/s to the left", key="p", button=2),
)
