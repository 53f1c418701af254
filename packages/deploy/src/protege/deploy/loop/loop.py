"""The fixed-rate control loop: read, command, infer, check, write; and its latency."""

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from ..commands.registry import TurnLimit
from ..geometry import Array
from ..interface import Command, CommandSource, Mode, Policy, RobotInterface, RobotReading
from ..safety.limits import Limits
from ..safety.safety import Event, Safety
from .latency import Histogram
from .pace import Pace, priority, suspended, undisturbed
from .start_up import StartUp
from .watchdog import Watchdog

STAGES = ("wake", "read", "command", "infer", "check", "write", "cycle")
"""The delay of a step's beginning, the step's parts, and the whole step."""


@dataclass(frozen=True)
class Step:
    """One step of the loop.

    Attributes:
        index: from 0.
        time: s of the commands' clock: index times the period.
        reading: the robot's measured state.
        command: the command; None if the robot damps.
        wanted: (J,) rad, the policy's joint targets; None if the policy did not run.
        target: (J,) rad, the written joint targets.
        mode: the written mode.
        spent: duration of each stage, s, of `STAGES` without `cycle`.
    """

    index: int
    time: float
    reading: RobotReading
    command: Command | None
    wanted: Array | None
    target: Array
    mode: Mode
    spent: dict[str, float]


@dataclass(frozen=True)
class LoopReport:
    """Measurements of a run of the loop.

    Attributes:
        steps: control steps carried out.
        seconds: wall time, s.
        stages_ms: latency by stage (`STAGES`), ms: p50, p95, p99, p99.9, max.
        histograms: by stage the bins that are not empty: upper edge, ms, and count.
        missed_deadlines: steps that took longer than the control period.
        worst_overrun_ms: the largest excess over the period, ms.
        skipped_ticks: ticks that were skipped to catch up.
        clipped: number of steps with a clipped target, by the limit: range, rate.
        damped_steps: number of steps in which the robot damped.
        event: why it damped until the end; None if it did not.
        resumed: earlier falls, after which the robot was stood up and the run went on.
    """

    steps: int
    seconds: float
    stages_ms: dict[str, dict[str, float]]
    histograms: dict[str, list[tuple[float, int]]]
    missed_deadlines: int
    worst_overrun_ms: float
    skipped_ticks: int
    clipped: dict[str, int]
    damped_steps: int
    event: Event | None
    resumed: tuple[Event, ...] = ()


class ControlLoop:
    """Reads, decides and writes at a fixed rate, on absolute deadlines; see docs/realtime.md.

    Args:
        policy: see `Policy`; usually an `OnnxPolicy`.
        robot: see `RobotInterface`.
        command_source: see `CommandSource`; its clock is the number of steps times the period. An attribute `silence`, s, is
            checked against the limit of that name. A method `resume` is called when the policy acts again after a fall.
        control_dt: period, s; of the commands' clock too.
        realtime: wait for each tick; otherwise the loop runs as fast as it can (and still counts cycles above the period).
        safety: checks each step; by default only values that are not finite trip.
        rate: ticks per second, if it is not one per period: time runs faster or slower, for tests.
        catch_up: the treatment of missed ticks, a key of `pace.CATCH_UP`.
        fifo: SCHED_FIFO priority, see `pace.priority`.
        core: CPU core, see `pace.priority`.
        on_step: called after each step, within its period.
        start_up: the phase before the policy's first step, if any; its steps are not counted and not passed to `on_step`.
        turn_limit: limits how fast the commanded direction turns; None: not at all.
    """

    def __init__(
        self,
        policy: Policy,
        robot: RobotInterface,
        command_source: CommandSource,
        control_dt: float,
        *,
        realtime: bool = True,
        safety: Safety | None = None,
        rate: float | None = None,
        catch_up: str = "skip",
        fifo: int | None = None,
        core: int | None = None,
        on_step: Callable[[Step], None] | None = None,
        start_up: StartUp | None = None,
        turn_limit: TurnLimit | None = None,
    ) -> None:
        self.policy, self.robot, self.command_source, self.control_dt = policy, robot, command_source, control_dt
        self.realtime, self.on_step, self.start_up = realtime, on_step, start_up
        self.turn_limit = turn_limit
        self.safety = safety or Safety(Limits.off(), period=control_dt)
        self._period, self._catch_up = 1.0 / rate if rate else control_dt, catch_up
        self._fifo, self._core = fifo, core
        self._writing, self._stopped, self._suspended = threading.Lock(), threading.Event(), 0.0
        self._histograms = {stage: Histogram() for stage in STAGES}

    def stop(self) -> None:
        """End the run after the present step. Any thread may call it."""
        self._stopped.set()

    def run(self, steps: int | None = None) -> LoopReport:
        """Control the robot for a number of steps, or until `stop`.

        Raises:
            Exception: any exception of the robot, command source or policy ends the loop; the robot is left damping.
        """
        self._stopped.clear()
        self._histograms = {stage: Histogram() for stage in STAGES}
        self.policy.reset()
        self.safety.reset()
        try:
            # The watchdog starts first, so that it does not share the loop's core.
            with undisturbed(), self._watchdog() as watchdog, priority(self._fifo, self._core):
                return self._run(steps, watchdog)
        except BaseException:
            self._damp()
            raise

    def _run(self, steps: int | None, watchdog: Watchdog | None) -> LoopReport:
        pace = Pace(self._period, self._catch_up, realtime=self.realtime)
        index = missed = damped = 0
        self._suspended = suspended()
        resumed = list[Event]()
        self._start(pace, watchdog)
        self._histograms = {stage: Histogram() for stage in STAGES}
        worst, started = 0.0, time.perf_counter()
        while (steps is None or index < steps) and not self._stopped.is_set():
            if fall := self._stood_up_after():
                resumed.append(fall)
                self._resume(pace, watchdog)
            step, overrun = self._tick(pace, watchdog, index)
            missed, worst = missed + (overrun > 0.0), max(worst, overrun)
            damped += step.mode is Mode.DAMPING
            if self.on_step is not None:
                self.on_step(step)
            index += 1
        return LoopReport(
            steps=index,
            seconds=time.perf_counter() - started,
            stages_ms={stage: histogram.summary() for stage, histogram in self._histograms.items()},
            histograms={stage: histogram.bins() for stage, histogram in self._histograms.items()},
            missed_deadlines=missed,
            worst_overrun_ms=1e3 * worst,
            skipped_ticks=pace.skipped,
            clipped=dict(self.safety.clipped),
            damped_steps=damped,
            event=self.safety.tripped,
            resumed=tuple(resumed),
        )

    def _start(self, pace: Pace, watchdog: Watchdog | None) -> None:
        """Run the start-up, if there is one, until it is done or a check has tripped."""
        if self.turn_limit is not None:
            self.turn_limit.reset()
        if self.start_up is None:
            return
        self.start_up.begin()
        index = 0
        while not (self.start_up.done or self.safety.tripped or self._stopped.is_set()):
            self._tick(pace, watchdog, index, self.start_up)
            index += 1
        self.safety.set_standing_height()

    def _stood_up_after(self) -> Event | None:
        """The fall after which the robot has been stood up and starts again; None if it does not."""
        safety, start_up = self.safety, self.start_up
        if start_up is None:
            return None
        again = start_up.should_restart(safety.tripped, safety.last, self.control_dt, safety.standing_height)
        return safety.tripped if again else None

    def _resume(self, pace: Pace, watchdog: Watchdog | None) -> None:
        """Start again after a fall, softly."""
        self.safety.resume()
        self.policy.reset()
        self._start(pace, watchdog)
        # Only now, because orders that came while the robot was down do not count.
        resume = getattr(self.command_source, "resume", None)
        if resume is not None:
            resume()

    def _tick(
        self, pace: Pace, watchdog: Watchdog | None, index: int, start_up: StartUp | None = None
    ) -> tuple[Step, float]:
        """A step at its tick, and its time beyond the period, s, negative if it was in time."""
        if watchdog is not None:
            watchdog.expect(pace.tick + (self.safety.limits.stall or 0.0))
        late = pace.wait()
        step = self._step(index, late, start_up)
        overrun = pace.advance(time.perf_counter())
        if self.realtime:
            self.safety.check_deadline(overrun > 0.0)
        return step, overrun

    def _step(self, index: int, late: float, start_up: StartUp | None = None) -> Step:
        """Read, command, infer, check, write. During start-up the targets come from `start_up` instead of the policy."""
        safety, now = self.safety, index * self.control_dt
        command = wanted = target = None
        watch = _Watch()
        with self._writing:
            reading = self.robot.read()
        watch.lap("read")
        safety.check_reading(index, now, reading, getattr(self.command_source, "silence", 0.0))
        self._check_stall(late)
        if stopped := getattr(self.robot, "stopped", ""):
            safety.trip("stop", stopped)
        watch.lap("check")
        if safety.tripped is None and start_up is not None:
            wanted = start_up.target(reading)
            target = None if wanted is None else safety.clip_target(reading, wanted)
        elif safety.tripped is None:
            command = self.command_source(now, reading)
            if self.turn_limit is not None:
                command = self.turn_limit(command, reading)
            watch.lap("command")
            wanted = self.policy.act(reading, command)
            watch.lap("infer")
            target = safety.clip_target(reading, wanted)
            watch.lap("check")
        with self._writing:
            # The watchdog may have tripped just now.
            mode = Mode.CONTROL if safety.tripped is None and target is not None else Mode.DAMPING
            written = safety.damping_target if target is None or mode is Mode.DAMPING else target
            self.robot.write(written, mode)
        watch.lap("write")
        self._histograms["cycle"].add(sum(watch.spent.values()))
        if self.realtime:
            watch.spent["wake"] = late
        for stage, seconds in watch.spent.items():
            self._histograms[stage].add(seconds)
        return Step(index, now, reading, command, wanted, written, mode, watch.spent)

    # What must not happen -----------------------------------------------------------------------------------------------

    def _check_stall(self, late: float) -> None:
        limit = self.safety.limits.stall
        if not self.realtime or limit is None:
            return
        if late > limit:
            self.safety.trip("stall", f"a step began {1e3 * late:.0f} ms late", late=late, limit=limit)
        slept = (now := suspended()) - self._suspended
        if slept > limit:
            self.safety.trip("stall", f"the computer was suspended for {slept:.1f} s", slept=slept, limit=limit)
        self._suspended = max(self._suspended, now)

    def _watchdog(self) -> AbstractContextManager[Watchdog | None]:
        """In real time, a thread that damps the robot while a step does not end."""
        if not self.realtime or self.safety.limits.stall is None:
            return nullcontext()
        return Watchdog(self._period, self._stalled, self._fifo)

    def _stalled(self) -> None:
        limit = self.safety.limits.stall
        self.safety.trip("stall", f"no target {1e3 * (limit or 0.0):.0f} ms after its tick", limit=limit)
        self._damp()

    def _damp(self) -> None:
        """Write damping, unless the robot's own call hangs or nothing has been read yet."""
        if self._writing.acquire(timeout=self._period):
            try:
                if self.safety.has_read:
                    self.robot.write(self.safety.damping_target, Mode.DAMPING)
            finally:
                self._writing.release()


class _Watch:
    """Time by stage, s."""

    def __init__(self) -> None:
        self.spent = dict[str, float]()
        self._mark = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Everything since the last lap belongs to this stage."""
        now = time.perf_counter()
        self.spent[stage] = self.spent.get(stage, 0.0) + now - self._mark
        self._mark = now
