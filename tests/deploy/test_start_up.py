"""How a run starts and what follows a fall, on a robot of two joints."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import DT, STANDING, FakePolicy, FakeRobot, metadata, nothing

from protege.deploy.commands.path_clock import PathClock
from protege.deploy.errors import DeployError
from protege.deploy.loop.loop import ControlLoop, Step
from protege.deploy.loop.start_up import StartUp
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

LEANING = replace(STANDING, root_quat_w=np.array([np.cos(0.7), np.sin(0.7), 0.0, 0.0]))  # by 1.4 rad


def run(robot: FakeRobot, start: StartUp, steps: int) -> tuple[ControlLoop, list[Step], FakePolicy]:
    shown, policy = list[Step](), FakePolicy()
    safety = Safety(Limits.of(metadata()), metadata())
    loop = ControlLoop(policy, robot, nothing, DT, realtime=False, safety=safety, on_step=shown.append, start_up=start)
    loop.run(steps)
    return loop, shown, policy


def test_the_ramp_is_a_straight_line_from_where_the_joints_are() -> None:
    robot = FakeRobot()
    _, shown, policy = run(robot, StartUp([0.0, 0.05], DT, ramp=4, hold=3 * DT), steps=2)
    knee = [round(float(target[0]), 4) for target, _ in robot.written]
    hip = [round(float(target[1]), 4) for target, _ in robot.written]
    assert knee == [
        0.375,
        0.25,
        0.125,
        0.0,
        0.0,
        0.0,
        0.0,
        0.5,
        0.5,
    ]  # four of the ramp, three of holding, two of the policy
    assert hip == [-0.175, -0.1, -0.025, 0.05, 0.05, 0.05, 0.05, -0.25, -0.25]
    assert robot.modes == "C" * 9
    assert [step.index for step in shown] == [0, 1] and [step.time for step in shown] == [0.0, DT] and policy.calls == 2


def test_it_damps_until_it_is_ready_and_holds_until_it_may_go() -> None:
    answers = {"ready": iter([False, False, True]), "go": iter([False, False, True])}
    start = StartUp(
        [0.0, 0.0], DT, ramp=2, hold=0.0, ready=lambda: next(answers["ready"]), go=lambda: next(answers["go"])
    )
    robot = FakeRobot()
    run(robot, start, steps=1)
    assert robot.modes == "DDCCCCC"
    assert [float(target[0]) for target, mode in robot.written][2:] == pytest.approx(
        [0.25, 0.0, 0.0, 0.0, 0.5], abs=1e-5
    )


def test_a_trip_in_the_ramp_damps_and_the_policy_never_runs() -> None:
    robot = FakeRobot({3: LEANING})
    loop, shown, policy = run(robot, StartUp([0.0, 0.0], DT, ramp=10), steps=5)
    assert robot.modes == "CCC" + "D" * 6 and policy.calls == 0
    assert loop.safety.tripped is not None and loop.safety.tripped.cause == "fall"
    assert all(step.wanted is None for step in shown)


def test_a_stopped_robot_damps_permanently() -> None:
    robot = FakeRobot()
    robot.stopped = ""  # pyright: ignore[reportAttributeAccessIssue]

    def press(step: Step) -> None:
        if step.index == 2:
            robot.stopped = "the remote control's stop was pressed"  # pyright: ignore[reportAttributeAccessIssue]

    loop = ControlLoop(FakePolicy(), robot, nothing, DT, realtime=False, on_step=press)
    report = loop.run(6)
    assert robot.modes == "CCCDDD" and report.event is not None
    assert report.event.cause == "stop" and "remote control" in report.event.message


@pytest.mark.parametrize("resumes", [True, False])
def test_a_robot_that_has_been_stood_up_restarts_only_with_resume(resumes: bool) -> None:
    up = round(2.0 / DT)  # steps of standing, after which it counts as stood up
    robot = FakeRobot(dict.fromkeys(range(3, 10), LEANING))
    start = StartUp([0.5, -0.25], DT, ramp=2, hold=0.0, resumes=resumes)
    loop, _, policy = run(robot, start, steps=7 + up + 10)
    if not resumes:
        assert robot.modes == "CCC" + "D" * (6 + up + 10) and policy.calls == 1
        assert loop.safety.tripped is not None
        return
    # Two of the ramp, one of the policy, seven on the ground, 2 s of being stood up, the ramp again, the policy.
    assert robot.modes[:3] == "CCC" and robot.modes[3 : 10 + up] == "D" * (7 + up)
    assert len(robot.modes) > 12 + up and set(robot.modes[10 + up :]) == {"C"}
    assert loop.safety.tripped is None


def test_without_a_ramp_the_policy_begins_immediately() -> None:
    from protege.deploy.cli.start import start_up

    robot, described = FakeRobot(), metadata()
    plain = {"hold": 1.0, "begin": "now", "after_fall": "stay"}
    assert start_up(robot, "mujoco", described, soft_start=None, **plain) is None
    assert start_up(robot, "unitree:lo", described, soft_start=0, **plain) is None
    assert isinstance(start_up(robot, "unitree:lo", described, soft_start=None, **plain), StartUp)
    assert isinstance(start_up(robot, "udp:1", described, soft_start=5, **plain), StartUp)
    with pytest.raises(DeployError, match="no remote control"):
        start_up(robot, "udp:1", described, soft_start=5, **{**plain, "begin": "remote"})
    with pytest.raises(DeployError, match="--soft-start 500"):
        start_up(robot, "mujoco", described, soft_start=None, **{**plain, "after_fall": "resume"})


def test_a_paths_clock_does_not_count_the_time_of_a_fall() -> None:
    clock = PathClock(lambda time: np.array([time, 0.0]), 60.0)
    for k in range(11):
        clock.advance(0.1 * k, np.array([0.1 * k, 0.0]))
    clock.resume()
    clock.advance(21.0, np.array([1.0, 0.0]))
    assert clock.now == pytest.approx(1.0)
    clock.advance(21.1, np.array([1.0, 0.0]))
    assert clock.now == pytest.approx(1.1) and not clock.lost
