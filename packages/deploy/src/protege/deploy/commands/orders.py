"""What a robot can be told in flight, as plain data: what a script's line, a datagram or a web page holds.

An order names every mode that is on from now: `{"steering": {"direction": 45, "speed": 1.0}}`; several are a mix, and what it
does not name is off. Directions are degrees to the left, points m ahead and to the left, both counted from a frame: `robot`
(where it stands and faces as the order is taken), `start` (where it did when the run began) or `world`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any, Self

import numpy as np

from ..errors import DeployError
from ..interface import Array, CommandSource, RobotReading
from ..safety.ranges import ANY, Ranges
from .simple import GoalCommand, PathCommand, SteeringCommand

FRAMES = ("robot", "start", "world")
MAX_SPEED = 10.0  # m/s
MAX_POINTS = 1000
FAR = 1e5  # m


@dataclass(frozen=True)
class Origin:
    """A place on the ground that points and directions are counted from: point (2,) m, yaw rad."""

    point: Array
    yaw: float

    @classmethod
    def of(cls, reading: RobotReading) -> Self:
        """Where a robot stands and faces."""
        return cls(np.array(reading.root_pos_w[:2]), reading.yaw)

    def to_world(self, points: Array) -> Array:
        """Points (..., 2) m ahead and to the left, in the world."""
        return self.point + self.turned(points)

    def turned(self, vectors: Array) -> Array:
        """Vectors (..., 2) ahead and to the left, in the world's axes."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.asarray(vectors, dtype=np.float64) @ np.array([[cos, sin], [-sin, cos]])

    def direction(self, degrees: float) -> Array:
        """Unit vector (2,) so many degrees to the left, in the world's axes."""
        angle = math.radians(degrees)
        return self.turned(np.array([math.cos(angle), math.sin(angle)]))


Origins = Mapping[str, Origin]
"""One for each of `FRAMES`."""
Begin = Callable[[Origins], CommandSource]
"""Makes a command of an order, at the step that it is taken in. That command's clock starts there."""


@dataclass(frozen=True)
class Steering:
    """Go in a direction at a speed.

    Attributes:
        direction: degrees to the left.
        speed: m/s; 0 is to stand.
        facing: degrees to the left, where to look; by default where to go.
        frame: of both directions.
    """

    direction: float = 0.0
    speed: float = 1.0
    facing: float | None = None
    frame: str = "robot"

    def __post_init__(self) -> None:
        _number(self, "direction", -1e6, 1e6)
        _number(self, "speed", 0.0, MAX_SPEED)
        if self.facing is not None:
            _number(self, "facing", -1e6, 1e6)
        _frame(self.frame)

    def begin(self, origins: Origins, path_times: Sequence[float], ranges: Ranges = ANY) -> CommandSource:
        origin = origins[self.frame]
        facing = None if self.facing is None else origin.direction(self.facing)
        speed = ranges.clamp("steering_speed", self.speed)
        return SteeringCommand(origin.direction(self.direction), speed, facing)


@dataclass(frozen=True)
class Path:
    """Follow a line: through points, or as the turn rate bends it.

    Attributes:
        points: (x, y) m, to be passed one after the other, beginning where the robot is; empty: a steady line.
        speed: m/s.
        turn_rate: rad/s to the left, of a steady line.
        seconds: s, how long a steady line is; at its end, as at the last point, the robot is to stay.
        frame: of the points.
    """

    points: tuple[tuple[float, float], ...] = ()
    speed: float = 1.0
    turn_rate: float = 0.0
    seconds: float = 60.0
    frame: str = "robot"

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", _points(self.points))
        _number(self, "speed", 0.01, MAX_SPEED)
        _number(self, "turn_rate", -10.0, 10.0)
        _number(self, "seconds", 0.1, 600.0)
        _frame(self.frame)

    def begin(self, origins: Origins, path_times: Sequence[float], ranges: Ranges = ANY) -> CommandSource:
        here, speed = origins["robot"], ranges.clamp("path_speed", self.speed)
        if self.points:
            way = np.vstack([here.point, origins[self.frame].to_world(np.array(self.points))])
            return PathCommand.along(way, speed, path_times)
        # At another speed it is the same line: it turns as much more slowly, and takes as much longer.
        turn_rate = ranges.clamp("path_turn_rate", self.turn_rate * speed / self.speed)
        return PathCommand.bent(here.point, here.yaw, speed, turn_rate, self.seconds * self.speed / speed, path_times)


@dataclass(frozen=True)
class Goal:
    """Be at a point by a deadline, and stay.

    Attributes:
        point: (x, y) m.
        seconds: s until then; by default 2 s and 0.8 m/s.
        frame: of the point.
    """

    point: tuple[float, float]
    seconds: float | None = None
    frame: str = "robot"

    def __post_init__(self) -> None:
        [point] = _points([self.point])
        object.__setattr__(self, "point", point)
        if self.seconds is not None:
            _number(self, "seconds", 0.0, 3600.0)
        _frame(self.frame)

    def begin(self, origins: Origins, path_times: Sequence[float], ranges: Ranges = ANY) -> CommandSource:
        point = origins[self.frame].to_world(np.array(self.point))
        distance = float(np.linalg.norm(point - origins["robot"].point))
        reach = ranges.reach(distance)
        if self.seconds is not None:
            return GoalCommand(point, self.seconds, reach)
        return GoalCommand.reachable(point, distance, reach)


@dataclass(frozen=True)
class Motion:
    """Follow a clip with the whole body, or with some of it, beginning where the robot is; its last pose is held.

    Attributes:
        clip: a `.npy` file, or the name of one that a package ships.
        bodies: names of those whose poses count; empty: all. The rest may obey the other modes of a mix.
    """

    clip: str
    bodies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = isinstance(self.bodies, Sequence) and all(isinstance(name, str) for name in self.bodies)
        if not isinstance(self.clip, str) or not self.clip or isinstance(self.bodies, str) or not named:
            raise DeployError("a motion has a clip, a text, and bodies, a list of names")
        object.__setattr__(self, "bodies", tuple(self.bodies))


Part = Steering | Path | Goal | Motion
Order = Mapping[str, Part]
"""Parts by mode. An empty one stands."""
MODES: dict[str, type] = {"path": Path, "goal": Goal, "steering": Steering, "motion": Motion}


def parse(data: Any) -> Order:
    """An order of plain data, as JSON or YAML gives it.

    Raises:
        DeployError: an unknown mode or key, or a value that is no sense, by name.
    """
    if not isinstance(data, Mapping):
        raise DeployError(f"an order is a mapping of {', '.join(MODES)}, not {_short(data)}")
    return {mode: _part(_known(mode, MODES, "mode"), values) for mode, values in data.items()}


def _part(mode: str, values: Any) -> Part:
    if not isinstance(values, Mapping):
        raise DeployError(f"{mode} is a mapping, not {_short(values)}")
    known = {field.name: field.default is MISSING for field in fields(MODES[mode])}
    missing = [name for name, required in known.items() if required and name not in values]
    if missing:
        raise DeployError(f"{mode} needs {', '.join(missing)}")
    return MODES[mode](**{_known(key, known, f"key of {mode}"): value for key, value in values.items()})


def _known(name: Any, names: Mapping[str, Any], what: str) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(_short(name), names, n=1)
    raise DeployError(
        f"unknown {what} {_short(name)}", f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names)}"
    )


def _number(part: Any, name: str, low: float, high: float) -> None:
    value = getattr(part, name)
    if not _is_number(value, low, high):
        raise DeployError(f"{name} is a number from {low:g} to {high:g}, not {_short(value)}")


def _points(values: Any) -> tuple[tuple[float, float], ...]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Sequence) or len(values) > MAX_POINTS:
        raise DeployError(f"points are a list of at most {MAX_POINTS} pairs (x, y), not {_short(values)}")
    for point in values:
        pair = not isinstance(point, str | bytes | Mapping) and isinstance(point, Sequence) and len(point) == 2
        if not pair or not all(_is_number(value, -FAR, FAR) for value in point):
            raise DeployError(f"a point is a pair (x, y) of numbers up to {FAR:g} m, not {_short(point)}")
    return tuple((float(x), float(y)) for x, y in values)


def _frame(name: Any) -> None:
    if name not in FRAMES:
        raise DeployError(f"unknown frame {_short(name)}", f"Known: {', '.join(FRAMES)}")


def _is_number(value: Any, low: float, high: float) -> bool:
    """Whether it is one, NaN is not, within bounds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
