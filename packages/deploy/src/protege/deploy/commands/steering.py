"""Steering: go in a direction at a speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ..geometry import Array, Pose2D, turned
from ..interface import Command, CommandSource, RobotReading
from ..policy.metadata import Metadata
from ..safety.ranges import UNLIMITED, Ranges
from .measured import STRIDE_SECONDS
from .order_kind import SPEED_OPTION, CommandHistory, OrderKind, RunContext
from .order_values import MAX_SPEED, check_frame, check_numbers

SETTLING_SECONDS = 2.0  # s, before the error is measured
SPEED_RANGE = "steering_speed"


@dataclass(frozen=True)
class Steering:
    """The order to go in a direction at a speed.

    Attributes:
        direction: degrees to the left.
        speed: m/s; 0 is to stand, negative is to go backwards while facing the direction.
        facing: degrees to the left, of the heading; by default `direction`.
        frame: of both directions.
    """

    direction: float = 0.0
    speed: float = 1.0
    facing: float | None = None
    frame: str = "robot"

    def __post_init__(self) -> None:
        check_numbers(self, direction=(-1e6, 1e6), speed=(-MAX_SPEED, MAX_SPEED), facing=(-1e6, 1e6))
        check_frame(self.frame)

    def begin(
        self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = UNLIMITED
    ) -> CommandSource:
        """The command source, given the pose of each frame."""
        frame = frames[self.frame]
        facing = None if self.facing is None else frame.direction(self.facing)
        return SteeringCommand(frame.direction(self.direction), ranges.clamp(SPEED_RANGE, self.speed), facing)


@dataclass(frozen=True)
class SteeringCommand:
    """Go in a direction at a speed.

    Attributes:
        direction: (2,) unit vector.
        speed: m/s; negative is backwards.
        facing: (2,) unit vector, of the heading; by default `direction`.
    """

    reads_bodies: ClassVar[bool] = False
    direction: Array
    speed: float
    facing: Array | None = None

    def __call__(self, time: float, reading: RobotReading) -> Command:
        return Command(steering_direction_w=self.direction, steering_speed=self.speed, steering_facing_w=self.facing)

    def errors(self, time: Array, root_pos_w: Array, *_: Array | None) -> dict[str, float]:
        """Mean error of the velocity over one second, after two seconds of settling, m/s; empty for a shorter run."""
        stride = max(1, round(STRIDE_SECONDS / (time[1] - time[0])))
        velocity = (root_pos_w[stride:, :2] - root_pos_w[:-stride, :2]) / (time[stride:] - time[:-stride])[:, None]
        counts = time[stride:] >= SETTLING_SECONDS
        error = np.linalg.norm(velocity - self.speed * self.direction, axis=1)[counts]
        return {"steering_err": float(error.mean())} if len(error) else {}


class TurnLimit:
    """Turns the direction and the facing of each command towards what was ordered, at a limited rate.

    Policies fall over in sharp turns at speed.

    They begin at the robot's heading when steering begins. Other modalities are not changed.

    Args:
        rate: rad/s, the largest.
        period: s between two commands.
    """

    def __init__(self, rate: float, period: float) -> None:
        self._step = rate * period
        self._angles = dict[str, float]()

    def reset(self) -> None:
        """Begin again at the robot's heading."""
        self._angles.clear()

    def __call__(self, command: Command, reading: RobotReading) -> Command:
        """The command with limited directions."""
        names = ("steering_direction_w", "steering_facing_w")
        given = {name: value for name in names if (value := getattr(command, name)) is not None}
        before, self._angles = self._angles, {}
        for name, value in given.items():
            wanted, now = float(np.arctan2(value[1], value[0])), before.get(name, reading.yaw)
            turn = (wanted - now + np.pi) % (2.0 * np.pi) - np.pi
            self._angles[name] = now + float(np.clip(turn, -self._step, self._step))
        return replace(command, **{name: _unit(angle) for name, angle in self._angles.items()}) if given else command


def _unit(angle: float) -> Array:
    return np.array([np.cos(angle), np.sin(angle)])


# Velocities, the commands of other runtimes -----------------------------------------------------------------------------

LOOK_AHEAD_SECONDS = 0.5  # s; a turn rate becomes the heading that it reaches in this time
STANDING_SPEED = 0.05  # m/s, below which a velocity commands to stand


def of_velocity(velocity: Any, xp: Any = np) -> dict[str, Any]:
    """The model's inputs for a velocity, in the heading frame.

    Args:
        velocity: (..., 3) m/s ahead, m/s to the left, rad/s to the left; an array of NumPy or torch.
        xp: the array library.
    """
    forward, left, turn = velocity[..., 0], velocity[..., 1], velocity[..., 2]
    # The direction is always ahead: backwards is a negative speed.
    sign = xp.where(forward < 0.0, -xp.ones_like(forward), xp.ones_like(forward))
    speed = xp.sqrt(forward * forward + left * left)
    moves = speed > STANDING_SPEED
    way = xp.where(moves, xp.atan2(sign * left, sign * forward), xp.zeros_like(speed))
    seen = {"steering_direction_h": way + LOOK_AHEAD_SECONDS * turn, "steering_facing_h": LOOK_AHEAD_SECONDS * turn}
    return {
        **{name: xp.stack([xp.cos(angle), xp.sin(angle)], -1) for name, angle in seen.items()},
        "steering_speed": xp.where(moves, sign * speed, xp.zeros_like(speed)),
    }


def velocity_of(command: Command, reading: RobotReading) -> Array | None:
    """The velocity that follows a command, (3,) m/s ahead, m/s to the left, rad/s to the left; None without a command."""
    if command.steering_direction_w is None or command.steering_speed is None:
        return None
    way = turned(command.steering_direction_w, -reading.yaw)
    facing = way if command.steering_facing_w is None else turned(command.steering_facing_w, -reading.yaw)
    return np.array([*(command.steering_speed * way), np.arctan2(facing[1], facing[0]) / LOOK_AHEAD_SECONDS])


# The order kind ----------------------------------------------------------------------------------------------------------


def from_options(options: Mapping[str, Any], run: RunContext) -> SteeringCommand:
    """The direction of `--direction` at the speed of `--speed`."""
    return SteeringCommand(run.start.direction(options["direction"]), run.ranges.clamp(SPEED_RANGE, options["speed"]))


def random(generator: np.random.Generator, run: RunContext) -> SteeringCommand:
    """Any direction, 0.5 to 1.5 m/s."""
    direction = run.start.direction(float(np.degrees(generator.uniform(-np.pi, np.pi))))
    return SteeringCommand(direction, float(generator.uniform(0.5, 1.5)))


def of_clip(root: Array, now: int, dt: float, times: Sequence[float], reading: RobotReading) -> dict[str, Any]:
    """The clip's mean velocity over the next second, or over its last one."""
    stride = min(round(STRIDE_SECONDS / dt), len(root) - 1)
    begin = min(now, len(root) - 1 - stride)
    velocity = (root[begin + stride] - root[begin]) / (stride * dt)
    speed = float(np.linalg.norm(velocity))
    way = velocity / speed if speed > 1e-3 else reading.pose_2d.direction(0.0)
    return {"steering_direction_w": way, "steering_speed": speed}


def error(past: CommandHistory, metadata: Metadata) -> float | None:
    """Error of the velocity over the last second, m/s."""
    (command, root), steps = past[-1], round(STRIDE_SECONDS / metadata.control_dt)
    if command.steering_direction_w is None or command.steering_speed is None:
        return None
    if len(past) <= steps:
        return np.nan
    velocity = (root - past[-1 - steps][1]) / (metadata.control_dt * steps)
    return float(np.linalg.norm(velocity - command.steering_speed * np.asarray(command.steering_direction_w)))


def drawn(command: Command, root: Array) -> Array | None:
    """A line as long as the distance covered in a second."""
    speed, direction = command.steering_speed, command.steering_direction_w
    return None if not speed or direction is None else np.vstack([root, root + speed * direction])


KIND = OrderKind(
    name="steering",
    order=Steering,
    from_options=from_options,
    random=random,
    of_clip=of_clip,
    unit="m/s",
    error=error,
    drawn=drawn,
    segments=1,
    options={
        **SPEED_OPTION,
        "--direction": {"default": 0.0, "help": "degrees to the left of the heading at the start"},
    },
    speed_range=SPEED_RANGE,
    of_velocity=of_velocity,
    velocity_of=velocity_of,
)
