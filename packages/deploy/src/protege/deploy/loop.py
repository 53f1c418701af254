"""The fixed-rate loop around a policy and a robot, and what it measures."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .interface import Array, CommandSource, Policy, RobotInterface, RobotReading

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}


@dataclass(frozen=True)
class LoopReport:
    """What a run of the loop showed.

    Attributes:
        steps: control steps carried out.
        seconds: wall time, s.
        policy_ms: latency of the policy alone, ms: p50, p95, p99, max.
        cycle_ms: read, command, policy and write together, ms.
        missed_deadlines: cycles that took longer than the control period.
        held_steps: steps in which the watchdog repeated the last good target.
        watchdog: why it did, empty if it did not.
    """

    steps: int
    seconds: float
    policy_ms: dict[str, float]
    cycle_ms: dict[str, float]
    missed_deadlines: int
    held_steps: int
    watchdog: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)


@dataclass
class ControlLoop:
    """Reads, decides and writes at a fixed rate.

    Deadlines are absolute: what one cycle oversleeps, the next makes up for. A cycle that overruns its period is counted, and the
    loop goes on at the next tick of the same clock. The watchdog holds the last good target, for good, after an output that is
    not finite or `max_missed` missed deadlines in a row.

    Attributes:
        policy: see `Policy`; `OnnxPolicy` as a rule.
        robot: see `RobotInterface`.
        command_source: see `CommandSource`; its clock is the number of steps times the period.
        control_dt: period, s.
        realtime: wait for each tick; otherwise the loop runs as fast as it can (and still counts cycles above the period).
        max_missed: so many missed deadlines in a row end the policy's control.
        on_step: called after each step with its number, the reading, and whether the target was held.
    """

    policy: Policy
    robot: RobotInterface
    command_source: CommandSource
    control_dt: float
    realtime: bool = True
    max_missed: int = 5
    on_step: Callable[[int, RobotReading, bool], None] | None = None

    def run(self, steps: int) -> LoopReport:
        """Control the robot for so many steps.

        Raises:
            Exception: whatever robot, command source or policy raise ends the loop; the robot keeps its last target.
        """
        policy_s, cycle_s = np.full(steps, np.nan), np.zeros(steps)
        missed = in_a_row = held_steps = 0
        watchdog, target = "", None
        self.policy.reset()
        start = tick = time.perf_counter()
        for step in range(steps):
            if self.realtime:
                _sleep_until(tick)
            begun = time.perf_counter()
            reading = self.robot.read()
            if target is None:
                target = np.array(reading.joint_pos, dtype=np.float32)
            if not watchdog:
                command = self.command_source(step * self.control_dt, reading)
                asked = time.perf_counter()
                wanted = self.policy.act(reading, command)
                policy_s[step] = time.perf_counter() - asked
                if np.isfinite(wanted).all():
                    target = wanted
                else:
                    watchdog = f"step {step}: the policy's output is not finite"
            held_steps += bool(watchdog)
            self.robot.write(target)
            ended = time.perf_counter()
            cycle_s[step] = ended - begun
            late = ended > tick + self.control_dt if self.realtime else cycle_s[step] > self.control_dt
            missed, in_a_row = missed + late, in_a_row + 1 if late else 0
            if in_a_row >= self.max_missed and not watchdog:
                watchdog = f"step {step}: {in_a_row} deadlines missed in a row"
            # The next tick that is still to come.
            tick += self.control_dt * max(1, int(np.ceil((ended - tick) / self.control_dt)))
            if self.on_step is not None:
                self.on_step(step, reading, bool(watchdog))
        return LoopReport(
            steps=steps,
            seconds=time.perf_counter() - start,
            policy_ms=_percentiles(policy_s),
            cycle_ms=_percentiles(cycle_s),
            missed_deadlines=int(missed),
            held_steps=held_steps,
            watchdog=watchdog,
        )


def _percentiles(seconds: Array) -> dict[str, float]:
    """Of the finite ones, in ms."""
    known = seconds[np.isfinite(seconds)]
    if not len(known):
        return {}
    return {name: float(np.percentile(known, q)) * 1e3 for name, q in PERCENTILES.items()}


def _sleep_until(moment: float) -> None:
    """Until a time of `perf_counter`; the last half millisecond in a loop, since sleep wakes up late."""
    while (left := moment - time.perf_counter()) > 0.0:
        if left > 5e-4:
            time.sleep(left - 5e-4)
