"""The loop's order of things, its clock, and what it counts."""

import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import DT, STANDING, DampingRobot, FakePolicy, FakeRobot, metadata, nothing

from protege.deploy.errors import DeployError
from protege.deploy.interface import Command, RobotReading
from protege.deploy.loop import loop as loop_module
from protege.deploy.loop.loop import STAGES, ControlLoop, Step
from protege.deploy.loop.pace import PreciseSleep, suspended
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety


def loop(policy: FakePolicy, robot: FakeRobot, **options) -> ControlLoop:
    return ControlLoop(policy, robot, options.pop("source", nothing), DT, **options)


def test_a_step_reads_commands_infers_and_writes() -> None:
    policy, robot, steps, times = FakePolicy(), FakeRobot(), list[Step](), list[float]()

    def source(time: float, reading: RobotReading) -> Command:
        times.append(time)
        return Command(steering_speed=time)

    report = loop(policy, robot, source=source, realtime=False, on_step=steps.append).run(4)
    assert times == pytest.approx([0.0, DT, 2 * DT, 3 * DT]) and policy.calls == robot.reads == 4
    assert [step.index for step in steps] == [0, 1, 2, 3] and robot.modes == "CCCC"
    for step, (written, _) in zip(steps, robot.written, strict=True):
        assert step.command is not None and step.command.steering_speed == step.time
        np.testing.assert_array_equal(step.target, written)
    assert report.steps == 4 and report.damped_steps == 0 and report.event is None
    assert set(report.stages_ms) == set(STAGES) and report.stages_ms["wake"] == {}
    assert sum(count for _, count in report.histograms["infer"]) == 4 and report.histograms["wake"] == []


def test_slow_steps_are_counted_and_the_clock_continues() -> None:
    policy, robot = FakePolicy(slow=(2, 5), seconds=1.5 * DT), FakeRobot()
    started = time.perf_counter()
    report = loop(policy, robot).run(10)
    assert report.missed_deadlines >= 2 and report.skipped_ticks >= 2 and report.worst_overrun_ms >= 10.0
    # Nine periods to the last tick, and those that were left out.
    assert time.perf_counter() - started >= DT * (9 + report.skipped_ticks)
    assert report.stages_ms["infer"]["max"] >= 30.0 and len(robot.written) == 10


def test_a_burst_makes_up_for_a_slow_step() -> None:
    policy, robot, begun = FakePolicy(slow=(1,), seconds=5 * DT), FakeRobot(), list[float]()
    started = time.perf_counter()

    def watch(step: Step) -> None:
        begun.append(time.perf_counter() - started)

    report = loop(policy, robot, catch_up="burst", on_step=watch).run(12)
    assert report.skipped_ticks == 0 and report.missed_deadlines >= 4 and begun[11] >= 11 * DT


def test_another_rate_changes_the_ticks_and_not_the_commands_clock() -> None:
    times, started = list[float](), time.perf_counter()

    def source(time: float, reading: RobotReading) -> Command:
        times.append(time)
        return Command()

    loop(FakePolicy(), FakeRobot(), source=source, rate=1000.0).run(20)
    assert time.perf_counter() - started >= 19e-3
    assert times == pytest.approx([k * DT for k in range(20)])


def test_stop_ends_the_run() -> None:
    steps = list[Step]()
    endless = loop(FakePolicy(), FakeRobot(), on_step=steps.append, rate=1000.0)
    thread = threading.Thread(target=lambda: endless.run(None))
    thread.start()
    while len(steps) < 5:
        time.sleep(1e-3)
    endless.stop()
    thread.join(timeout=10.0)
    assert not thread.is_alive() and len(steps) >= 5


def test_any_exception_leaves_the_robot_damping() -> None:
    def source(time: float, reading: RobotReading) -> Command:
        if time > 2.5 * DT:
            raise DeployError("no such command")
        return Command()

    robot = FakeRobot()
    with pytest.raises(DeployError, match="no such command"):
        loop(FakePolicy(), robot, source=source, realtime=False).run(10)
    assert robot.modes == "CCCD"


def test_the_robot_damps_while_the_policy_stalls() -> None:
    """The policy comes back only when the robot damps: without the sentinel it would wait for ever."""
    robot = DampingRobot()

    class Stalls(FakePolicy):
        def act(self, reading: RobotReading, command: Command) -> np.ndarray:
            if self.calls == 3:
                assert robot.damps.wait(timeout=30.0)
            return super().act(reading, command)

    report = loop(Stalls(), robot, safety=Safety(Limits.off().changed(["stall=0.1"]), metadata())).run(8)
    assert "C" not in robot.modes[robot.modes.index("D") :]
    assert report.event is not None and report.event.cause == "stall" and report.event.step <= 3
    assert "no target 100 ms after its tick" in report.event.message
    np.testing.assert_allclose(robot.written[-1][0], STANDING.joint_pos, atol=1e-5)


def test_a_stalled_callback_counts_too() -> None:
    robot = DampingRobot()

    def dawdle(step: Step) -> None:
        if step.index == 2:
            assert robot.damps.wait(timeout=30.0)

    limits = Limits.off().changed(["stall=0.1"])
    report = loop(FakePolicy(), robot, safety=Safety(limits, metadata()), on_step=dawdle).run(5)
    assert report.event is not None and report.event.cause == "stall" and report.event.step <= 2


def test_a_gap_of_30_s_ends_in_damping_before_the_policy_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process was stopped: the clock went on."""
    policy, robot, calls = FakePolicy(), FakeRobot(), list[float]()

    def until(_: object, moment: float) -> float:
        calls.append(moment)
        return moment + 30.0 * (len(calls) == 4)

    monkeypatch.setattr(PreciseSleep, "until", until)
    report = loop(policy, robot, safety=Safety(Limits.off().changed(["stall=1"]), metadata())).run(6)
    assert report.event is not None and report.event.message == "a step began 30000 ms late"
    assert robot.modes == "CCCDDD" and policy.calls == 3


def test_a_step_of_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Network time may set the wall clock at any moment; the loop does not read it."""

    def read(*_: object) -> float:
        raise AssertionError("the loop reads the wall clock")

    for name in ("time", "time_ns", "localtime", "gmtime"):
        monkeypatch.setattr(time, name, read)
    robot = FakeRobot()
    loop(FakePolicy(), robot).run(4)
    assert robot.modes == "CCCC"


@pytest.mark.parametrize(("slept", "modes"), [(30.0, "CCDDD"), (0.05, "CCCCC")])
def test_a_suspended_computer_damps_before_the_policy_acts(
    slept: float, modes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monotonic clock stood still meanwhile: no step is late."""
    policy, robot = FakePolicy(), FakeRobot()
    monkeypatch.setattr(loop_module, "suspended", lambda: 100.0 + slept * (robot.reads > 2))
    report = loop(policy, robot, safety=Safety(Limits.off().changed(["stall=1"]), metadata())).run(5)
    assert robot.modes == modes and policy.calls == modes.count("C")
    if "D" in modes:
        assert report.event is not None and report.event.message == "the computer was suspended for 30.0 s"


def test_time_in_suspension_is_read_from_the_kernel() -> None:
    """Nothing suspends this computer during the test."""
    readings = [suspended() for _ in range(100)]
    assert max(readings) > -1e-3 and np.ptp(sorted(readings)[50:]) < 1e-3


def test_no_time_of_day_is_read() -> None:
    """It may be set back while the robot walks: every clock is a monotonic one."""
    source = Path(loop_module.__file__).parents[1]
    read = [
        path for path in source.rglob("*.py") if re.search(r"\btime\.time(_ns)?\(|datetime|REALTIME", path.read_text())
    ]
    assert not read and (source / "loop" / "pace.py").is_file()


def test_a_200_ms_stall_ends_in_damping() -> None:
    policy, robot = FakePolicy(slow=(4,), seconds=0.2), FakeRobot()
    report = loop(policy, robot, safety=Safety(Limits(), metadata())).run(8)
    assert report.event is not None and report.event.cause in ("stall", "deadlines")
    first = robot.modes.index("D")
    assert first <= 4 and "C" not in robot.modes[first:]


def test_many_missed_deadlines_in_a_row_end_in_damping() -> None:
    robot = FakeRobot()
    safety = Safety(Limits.off().changed(["missed_deadlines=3"]), metadata())
    report = loop(FakePolicy(slow=(1, 3, 4, 5), seconds=1.2 * DT), robot, safety=safety).run(10)
    assert report.event is not None and report.event.cause == "deadlines" and report.event.step <= 5
    assert robot.modes.endswith("DDDD") and robot.modes.startswith("C")


def test_without_real_time_no_step_is_too_long() -> None:
    robot = FakeRobot()
    report = loop(FakePolicy(slow=(1,), seconds=0.15), robot, safety=Safety(Limits(), metadata()), realtime=False).run(
        5
    )
    assert report.missed_deadlines >= 1 and report.event is None and robot.modes == "CCCCC"
