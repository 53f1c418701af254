"""Closed-loop runs: a policy, a robot and a command, and what `protege-deploy run` measures of them."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..commands.measured import STRIDE_SECONDS, MeasuredCommand
from ..commands.motion import Kinematics, MotionCommand
from ..errors import DeployError
from ..geometry import Array
from ..interface import RobotInterface
from ..motions.poses import Poses
from ..policy.metadata import Fall, Metadata
from .loop import ControlLoop, Step


def run_closed_loop(loop: ControlLoop, seconds: float | None, kinematics: Kinematics | None = None) -> dict[str, Any]:
    """Run a loop for some seconds, at least two steps, or until it is stopped. Then close its robot.

    Args:
        loop: with the policy, the robot and the command source. A `MeasuredCommand` also measures the tracking error.
        seconds: of the commands' clock, s; None: until `loop.stop`.
        kinematics: `MujocoRobot.body_poses`, for commands that are measured by all bodies.

    Returns:
        `loop`: see `LoopReport`. `stood`: whether the robot never fell; `fell_at_s`: None if it stood; see `FallDetector`.
        `walked_m`: distance that the root travelled on the ground, m, from second to second; None if the robot does not measure
        its position. `errors`: the command's metrics. `notes`: of the command source, time in s and message. `memory_mb`: of this
        process, after a minute of the commands' clock and at the end. `dropped`: discarded datagrams of a robot process, by
        reason; `dropped_orders`: those of a commander. `messages_late_ms`: lateness of the messages of a robot whose commands are
        repeated, as in `stages_ms`. `simulated_s`, `realtime`.

    Raises:
        DeployError: the policy does not take this command.
    """
    steps = None if seconds is None else max(2, round(seconds / loop.control_dt))
    monitor = _Monitor(loop, steps, kinematics)
    loop.on_step = monitor
    try:
        report = loop.run(steps)
    finally:
        loop.robot.close()
    event = report.event
    falls = [x.time for x in (*report.resumed, event) if x is not None and x.cause == "fall"]
    fell_at = min((at for at in (monitor.falls.at, *falls) if at is not None), default=None)
    return {
        "loop": asdict(report),
        "stood": fell_at is None,
        "fell_at_s": fell_at,
        "walked_m": monitor.walked,
        "errors": monitor.errors(report.steps),
        "notes": [note._asdict() for note in getattr(loop.command_source, "notes", ())],
        "memory_mb": {"after_a_minute": monitor.memory, "at_the_end": resident_mb()},
        "dropped": dict(getattr(loop.robot, "dropped", {})),
        "dropped_orders": dict(getattr(loop.command_source, "dropped", {})),
        "messages_late_ms": getattr(loop.robot, "messages_late_ms", {}),
        "simulated_s": report.steps * loop.control_dt,
        "realtime": loop.realtime,
    }


class FallDetector:
    """Detects when the robot of a run falls, by the rule of the evaluation.

    A robot has fallen when its root is below a share (`Metadata.fall`) of a reference height. This is the height in the motion
    that it tracks or, without a motion, the standing height: that of the robot model, else of `start` in `policy.json`, else of
    the first reading. A simulated robot also checks its head, see `MujocoRobot.has_fallen`. If the height is not measured,
    `Safety` detects a fall by the tilt.

    Args:
        robot: the robot.
        command: its command source; in the clip of a `MotionCommand` the robot may lie down.
        metadata: of the policy, if it is known.

    Attributes:
        at: when the robot fell, s of the commands' clock; None while it stands.
    """

    def __init__(self, robot: RobotInterface, command: object, metadata: Metadata | None) -> None:
        self._robot, self._motion = robot, command if isinstance(command, MotionCommand) else None
        self._share = (metadata.fall if metadata else Fall()).root
        start = metadata.start if metadata else None
        self._standing: float | None = getattr(robot, "standing_height", start.root_pos_w[2] if start else None)
        self.at: float | None = None

    def __call__(self, step: Step) -> None:
        fallen = self._is_low(step) or (self._motion is None and getattr(self._robot, "has_fallen", False))
        if fallen and self.at is None:
            self.at = step.time

    def _is_low(self, step: Step) -> bool:
        """Whether the root is too low; False if the robot does not measure its height."""
        if step.reading.root_pos_w is None:
            return False
        height = float(step.reading.root_pos_w[2])
        if self._standing is None:
            self._standing = height
        return height < self._share * (self._standing if self._motion is None else self._motion.height(step.time))


class _Monitor:
    """Observes each step, and stores only what the command's errors are computed from.

    Attributes:
        falls: whether and when the robot fell.
        walked: m, from stride to stride, because a walking pelvis sways; None if the robot does not measure its position.
        memory: MB after a minute; None before.
    """

    def __init__(self, loop: ControlLoop, steps: int | None, kinematics: Kinematics | None) -> None:
        self._loop, self._next, self._kinematics = loop, loop.on_step, kinematics
        self._command = loop.command_source if isinstance(loop.command_source, MeasuredCommand) else None
        if self._command is not None and steps is None:
            raise DeployError("a command that is measured ends", "Give --seconds")
        self._fields = ["root_pos_w"] * (self._command is not None)
        if self._command is not None and self._command.reads_bodies:
            self._fields += ["root_quat_w", "joint_pos"]
        self._rows, self._steps = dict[str, Array](), steps if self._command else None
        self._minute, self._stride = round(60.0 / loop.control_dt), round(STRIDE_SECONDS / loop.control_dt)
        self.falls = FallDetector(loop.robot, loop.command_source, getattr(loop.policy, "metadata", None))
        self.walked: float | None = None
        self._from = np.zeros(2)
        self.memory: float | None = None

    def __call__(self, step: Step) -> None:
        reading, place = step.reading, step.reading.root_pos_w
        if step.index == 0 and place is not None:
            self.walked, self._from = 0.0, place[:2]
            # Written once, so that the memory is allocated now and does not grow during the run.
            for name in self._fields:
                self._rows[name] = np.full((self._steps or 0, len(getattr(reading, name))), np.nan, np.float32)
        for name, rows in self._rows.items():
            rows[step.index] = np.nan if place is None else getattr(reading, name)
        if self.walked is not None and place is not None and self._counts(step.index):
            self.walked, self._from = self.walked + float(np.linalg.norm(place[:2] - self._from)), place[:2]
        if step.index == self._minute:
            self.memory = resident_mb()
        self.falls(step)
        if self._next is not None:
            self._next(step)

    def _counts(self, index: int) -> bool:
        """Whether a stride, or the run, ends with this step."""
        return index % self._stride == 0 or index + 1 == self._steps

    def errors(self, steps: int) -> dict[str, float]:
        """The command's metrics over the first `steps` steps; empty if the robot does not measure its position."""
        if self._command is None or not self._rows:
            return {}
        rows, bodies = {name: values[:steps].astype(np.float64) for name, values in self._rows.items()}, None
        if len(rows) == len(Poses._fields) and self._kinematics is not None:
            bodies, _ = self._kinematics(Poses(**rows))
        time: Array = self._loop.control_dt * np.arange(steps)
        return self._command.errors(time, rows["root_pos_w"], bodies)


def resident_mb() -> float | None:
    """Resident memory of this process, MB; None if the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
