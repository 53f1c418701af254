"""The safety layer between policy and robot: checks measurements for plausibility and joint targets against limits.

Targets slightly beyond their limits are clipped. Every other violation trips: from the same step on the robot damps until the run
ends. docs/realtime.md has the table.
"""

import logging
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..geometry import Array
from ..interface import MEASURED_FIELDS, RobotReading
from ..policy.metadata import Metadata
from .limits import Limits

logger = logging.getLogger("protege.deploy")

MOVING_THRESHOLD = 1e-2  # rad/s or rad, above which a robot should move, so that unchanged measurements are suspicious
STEP_TOLERANCE = 1e-6  # steps, so that 0.1 s are three steps of 1/30 s
UNIT_TOLERANCE = 0.1  # of a quaternion's length


@dataclass(frozen=True)
class Event:
    """Why the robot damps.

    Attributes:
        cause: one word: sensor, joint_range, frozen, fall, silence, policy, torque, clipping, stall, deadlines, stop.
        step: of the loop.
        time: s since its start.
        message: one line.
        values: the measured values and their limits.
    """

    cause: str
    step: int
    time: float
    message: str
    values: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"step {self.step}, {self.time:.3f} s: {self.message}"


class Safety:
    """Checks each step; see the module. Values that are not finite always trip; the other checks follow `Limits`.

    Args:
        limits: bounds.
        metadata: joints' names, ranges and servos; without it the checks that need them are skipped.
        period: s between two steps.

    Attributes:
        tripped: why the robot damps; None while it does not.
        clipped: number of steps with a clipped target, by the limit: range, rate.
    """

    def __init__(self, limits: Limits, metadata: Metadata | None = None, period: float = 1.0 / 30.0) -> None:
        self.limits, self.period = limits, metadata.control_dt if metadata else period
        self._names = metadata.joint_names if metadata else None
        if metadata:
            self._low, self._high = np.array(metadata.joint_range).T
            self._stiffness, self._damping = np.array(metadata.stiffness), np.array(metadata.damping)
            self._effort = np.array(metadata.effort_limit)
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Reset all state at the start of a run."""
        self.tripped: Event | None = None
        self.clipped = {"range": 0, "rate": 0}
        self.step, self.time = 0, 0.0
        self._last: RobotReading | None = None
        self._target: Array | None = None
        self._before: Array | None = None
        self._height = 0.0
        self._frozen = self._clipped_in_a_row = self._late_in_a_row = 0

    def resume(self) -> None:
        """Reset all state but the counts, for a fallen robot that has been stood up."""
        clipped = self.clipped
        self.reset()
        self.clipped = clipped

    def trip(self, cause: str, message: str, **values: Any) -> None:
        """Damp from now on; the first cause counts. Any thread may call it."""
        with self._lock:
            if self.tripped is None:
                self.tripped = Event(cause, self.step, self.time, message, values)
                logger.warning("%s; damping. %s", self.tripped, values)

    def set_standing_height(self) -> None:
        """Use the present height as the standing height for the fall check."""
        if self._last is not None and self._last.root_pos_w is not None:
            self._height = float(self._last.root_pos_w[2])

    @property
    def standing_height(self) -> float:
        """Height of the standing robot's root, m; 0 if it is not measured."""
        return self._height

    @property
    def last(self) -> RobotReading | None:
        """The last plausible measurement."""
        return self._last

    @property
    def has_read(self) -> bool:
        """Whether there has been a measurement."""
        return self._last is not None

    @property
    def damping_target(self) -> Array:
        """Targets for damping, (J,) rad: the last plausible joint angles."""
        assert self._last is not None  # a step reads first
        return np.asarray(self._last.joint_pos, dtype=np.float32)

    # Measurements -------------------------------------------------------------------------------------------------------

    def check_reading(self, step: int, time: float, reading: RobotReading, silence: float = 0.0) -> None:
        """Check a measurement, and the time since the commander's last signal, s."""
        self.step, self.time, last = step, time, self._last
        problem = _implausible(reading)
        if problem:
            self.trip("sensor", problem)
            self._last = last or _finite_reading(reading)
            return
        self._last = reading
        if last is None and reading.root_pos_w is not None:
            self._height = float(reading.root_pos_w[2])
        if self.tripped is None:
            self._check_frozen(reading, last)
            self._check_range(reading)
            self._check_fall(reading)
            if self.limits.silence is not None and silence > self.limits.silence:
                self.trip("silence", f"no command for {silence:.2f} s", silence=silence, limit=self.limits.silence)

    def _check_frozen(self, reading: RobotReading, last: RobotReading | None) -> None:
        """Trip on repeated measurements: with the same stamp or, without stamps, equal to the bit while the robot should move."""
        limit = self.limits.frozen_time
        if limit is None or last is None:
            return
        if reading.stamp is not None:
            same = reading.stamp == last.stamp
        else:
            same = all(np.array_equal(getattr(reading, name), getattr(last, name)) for name in MEASURED_FIELDS)
            same = same and (np.abs(reading.joint_vel).max() > MOVING_THRESHOLD or self._targets_move())
        self._frozen = self._frozen + 1 if same else 0
        if self._frozen and self._frozen >= limit / self.period - STEP_TOLERANCE:
            seconds = self._frozen * self.period
            self.trip("frozen", f"the measurements have not changed for {seconds:.2f} s", seconds=seconds, limit=limit)

    def _targets_move(self) -> bool:
        return (
            self._before is not None
            and self._target is not None
            and np.abs(self._target - self._before).max() > MOVING_THRESHOLD
        )

    def _check_range(self, reading: RobotReading) -> None:
        margin = self.limits.position_margin
        if self._names is None or margin is None:
            return
        beyond = np.maximum(self._low - reading.joint_pos, reading.joint_pos - self._high)
        joint = int(beyond.argmax())
        if beyond[joint] > margin:
            self.trip(
                "joint_range",
                f"{self._names[joint]} is measured {beyond[joint]:.2f} rad beyond its range",
                angle=float(reading.joint_pos[joint]),
                margin=margin,
            )

    def _check_fall(self, reading: RobotReading) -> None:
        lowest, tilt = self.limits.height, reading.tilt
        # Without a measured height only the tilt is checked.
        height = np.inf if reading.root_pos_w is None else float(reading.root_pos_w[2])
        if lowest is not None and height < lowest * self._height:
            bound = lowest * self._height
            self.trip("fall", f"the root is {height:.2f} m high, under {bound:.2f} m", height=height, limit=bound)
        elif self.limits.tilt is not None and tilt > self.limits.tilt:
            self.trip("fall", f"the root leans by {tilt:.2f} rad", tilt=tilt, limit=self.limits.tilt)

    # Targets ------------------------------------------------------------------------------------------------------------

    def clip_target(self, reading: RobotReading, wanted: Array) -> Array:
        """Check a policy's targets, (J,) rad, and return them clipped, (J,) rad float32. Check `tripped` before writing them."""
        if not np.isfinite(wanted).all():
            joint = int(np.flatnonzero(~np.isfinite(wanted))[0])
            name = self._names[joint] if self._names else f"joint {joint}"
            self.trip("policy", f"the policy's output is not finite ({name} is {wanted[joint]})")
            return self.damping_target
        self._check_torque(reading, wanted)
        target, before = wanted, self._target if self._target is not None else reading.joint_pos
        if self.limits.target_rate is not None:
            step = self.limits.target_rate * self.period
            target = self._clip("rate", target, before - step, before + step)
        if self.limits.joint_margin is not None and self._names is not None:
            reach = (self.limits.joint_reach or 0.0) * self._effort / self._stiffness
            margin = np.maximum(self.limits.joint_margin, reach)
            target = self._clip("range", target, self._low - margin, self._high + margin)
        self._check_clipping(target is not wanted)
        self._before, self._target = self._target, np.asarray(target, dtype=np.float32)
        return self._target

    def _clip(self, limit: str, target: Array, low: Array, high: Array) -> Array:
        """Clip a target; the same array if it is within bounds."""
        if (target >= low).all() and (target <= high).all():
            return target
        self.clipped[limit] += 1
        return np.clip(target, low, high)

    def _check_clipping(self, clipped: bool) -> None:
        self._clipped_in_a_row = self._clipped_in_a_row + 1 if clipped else 0
        limit, seconds = self.limits.clipped_time, self._clipped_in_a_row * self.period
        if limit is not None and self._clipped_in_a_row > limit / self.period + STEP_TOLERANCE:
            self.trip("clipping", f"targets had to be clipped for {seconds:.2f} s", seconds=seconds, limit=limit)

    def _check_torque(self, reading: RobotReading, wanted: Array) -> None:
        """Check the servos' torques: stiffness * (target - angle) - damping * velocity, N·m."""
        if self.limits.torque is None or self._names is None:
            return
        torque = self._stiffness * (wanted - reading.joint_pos) - self._damping * reading.joint_vel
        share = np.abs(torque) / self._effort
        joint = int(share.argmax())
        if share[joint] > self.limits.torque:
            limit = self.limits.torque * self._effort[joint]
            message = f"{self._names[joint]} would need {torque[joint]:.0f} N·m, more than {limit:.0f}"
            self.trip("torque", message, torque=float(torque[joint]), limit=float(limit))

    # Time ---------------------------------------------------------------------------------------------------------------

    def check_deadline(self, late: bool) -> None:
        """Count successive steps beyond their period. late: whether this step was, in real time."""
        self._late_in_a_row = self._late_in_a_row + 1 if late else 0
        limit = self.limits.missed_deadlines
        if limit is not None and self._late_in_a_row >= limit:
            self.trip("deadlines", f"{self._late_in_a_row} deadlines missed in a row", limit=limit)


def _implausible(reading: RobotReading) -> str:
    """Why a measurement is not plausible; empty if it is."""
    for name, value in _measured(reading).items():
        if not np.isfinite(value).all():
            return f"{name} of the sensors is not finite"
    length = float(np.linalg.norm(reading.root_quat_w))
    return (
        f"root_quat_w of the sensors has length {length:.3f}, no rotation" if abs(length - 1.0) > UNIT_TOLERANCE else ""
    )


def _finite_reading(reading: RobotReading) -> RobotReading:
    """A finite substitute for an invalid first measurement, so that a target is always finite."""
    values = {name: np.nan_to_num(value, posinf=0.0, neginf=0.0) for name, value in _measured(reading).items()}
    return RobotReading(**{**dict.fromkeys(MEASURED_FIELDS), **values})  # pyright: ignore[reportArgumentType]: only `POSITION_FIELDS` may be None


def _measured(reading: RobotReading) -> dict[str, Array]:
    """The measured fields, by name."""
    return {
        name: value
        for name in (*MEASURED_FIELDS, "imu_quat", "imu_ang_vel")
        if (value := getattr(reading, name)) is not None
    }
