"""Sabotage: whatever goes wrong, the same step's write damps, and says why."""

import json
import logging
from dataclasses import asdict, replace

import numpy as np
import pytest
from fakes import DT, STANDING, FakePolicy, FakeRobot, metadata, nothing
from hypothesis import given
from hypothesis import strategies as st

from protege.core.robots import robot
from protege.deploy.errors import DeployError
from protege.deploy.interface import MEASURED_FIELDS, Command, RobotReading
from protege.deploy.loop.loop import ControlLoop, LoopReport
from protege.deploy.policy.metadata import Camera, Fall
from protege.deploy.policy.policy_schema import SCHEMA_FILE
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety
from protege.sim.robots import get_robot

HERE = STANDING.joint_pos
NAN = np.array([np.nan, 0.0])


def run(
    policy: FakePolicy, robot: FakeRobot, limits: Limits | None = None, steps: int = 8, source=nothing
) -> LoopReport:
    safety = Safety(limits or Limits(), metadata())
    return ControlLoop(policy, robot, source, DT, realtime=False, safety=safety).run(steps)


def falls(**changes: object) -> RobotReading:
    return replace(STANDING, **changes)


def leaning(angle: float) -> np.ndarray:
    return np.array([np.cos(angle / 2), np.sin(angle / 2), 0.0, 0.0])


def test_a_healthy_robot_does_not_trip() -> None:
    robot = FakeRobot()
    report = run(FakePolicy(), robot, steps=50)
    assert report.event is None and robot.modes == "C" * 50 and report.clipped == {"range": 0, "rate": 0}
    np.testing.assert_array_equal(robot.written[-1][0], HERE.astype(np.float32))


@pytest.mark.parametrize(
    ("says", "cause", "message"),
    [
        (NAN, "policy", "the policy's output is not finite (knee is nan)"),
        (np.array([0.0, np.inf]), "policy", "the policy's output is not finite (hip is inf)"),
        (np.array([50.0, 0.0]), "torque", "knee would need 4950 N·m, more than 100"),
        (np.array([0.5, -9.0]), "torque", "hip would need -875 N·m, more than 100"),
    ],
)
def test_invalid_targets_trip(says: np.ndarray, cause: str, message: str) -> None:
    robot, policy = FakeRobot(), FakePolicy({3: says})
    report = run(policy, robot)
    assert robot.modes == "CCCDDDDD" and policy.calls == 4 and report.damped_steps == 5
    assert report.event is not None and (report.event.cause, report.event.step) == (cause, 3)
    assert report.event.message == message and report.event.time == pytest.approx(3 * DT)
    # Damping is where the joints are: neither the bad target nor the one before.
    for target, _ in robot.written[3:]:
        np.testing.assert_allclose(target, HERE, atol=1e-5)


@pytest.mark.parametrize("name", MEASURED_FIELDS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_measurements_that_are_not_finite_trip(name: str, value: float) -> None:
    broken = getattr(STANDING, name).copy()
    broken[1] = value
    robot, policy = FakeRobot({2: falls(**{name: broken})}), FakePolicy()
    report = run(policy, robot)
    assert robot.modes == "CCDDDDDD" and policy.calls == 2  # the policy never sees it
    assert report.event is not None and report.event.cause == "sensor" and name in report.event.message
    assert all(np.isfinite(target).all() for target, _ in robot.written)


def test_the_first_measurement_may_be_invalid() -> None:
    robot = FakeRobot(dict.fromkeys(range(3), falls(joint_pos=NAN)))
    report = run(FakePolicy(), robot, steps=3)
    assert robot.modes == "DDD" and report.event is not None and report.event.cause == "sensor"
    np.testing.assert_array_equal(robot.written[0][0], [0.0, 0.0])


@pytest.mark.parametrize(
    ("changes", "cause", "words"),
    [
        ({"root_quat_w": np.zeros(4)}, "sensor", "root_quat_w of the sensors has length 0.000"),
        ({"joint_pos": np.array([1.35, 0.0])}, "joint_range", "knee is measured 0.35 rad beyond its range"),
        ({"root_pos_w": np.array([0.0, 0.0, 0.5])}, "fall", "the root is 0.50 m high, under 0.54 m"),
        ({"root_quat_w": leaning(1.3)}, "fall", "the root leans by 1.30 rad"),
        ({"root_quat_w": -leaning(-1.3)}, "fall", "the root leans by 1.30 rad"),
    ],
)
def test_measurements_beyond_their_limits_trip(changes: dict, cause: str, words: str) -> None:
    robot = FakeRobot({4: falls(**changes)})
    report = run(FakePolicy(), robot)
    assert robot.modes == "CCCCDDDD"
    assert report.event is not None and report.event.cause == cause and words in report.event.message


@pytest.mark.parametrize(
    "changes",
    [
        {"joint_pos": np.array([1.29, 0.0])},
        {"root_pos_w": np.array([0.0, 0.0, 0.55])},
        {"root_quat_w": leaning(1.19)},
        {"root_quat_w": np.array([np.cos(1.5), 0.0, 0.0, np.sin(1.5)])},  # turned about the vertical: no lean
    ],
)
def test_values_just_within_their_limits_do_not_trip(changes: dict) -> None:
    robot = FakeRobot({4: falls(**changes)})
    assert run(FakePolicy(dict.fromkeys([4, 5], np.array([0.9, -0.2]))), robot).event is None


# A frozen sensor ---------------------------------------------------------------------------------------------------------


def frozen(first: int, reading: RobotReading, count: int = 20) -> FakeRobot:
    return FakeRobot(dict.fromkeys(range(first, first + count), reading))


def test_constant_measurements_with_a_velocity_trip() -> None:
    robot = frozen(2, falls(joint_vel=np.array([0.5, 0.0])))
    report = run(FakePolicy(), robot)
    assert robot.modes == "CCCCCCCD"  # one new measurement and five times the same: 0.1 s
    assert report.event is not None and report.event.cause == "frozen" and report.event.step == 7
    assert report.event.message == "the measurements have not changed for 0.10 s"


def test_constant_measurements_while_the_targets_move_trip() -> None:
    walks = FakePolicy({step: HERE + 0.05 * np.sin(step) for step in range(20)})
    report = run(walks, frozen(2, falls()), steps=9)
    assert report.event is not None and report.event.cause == "frozen"


def test_a_robot_at_rest_may_measure_the_same() -> None:
    assert run(FakePolicy(), frozen(2, falls()), steps=20).event is None


def test_stamps_distinguish_old_measurements_from_new_ones() -> None:
    old = {step: falls(stamp=min(step, 6)) for step in range(20)}
    report = run(FakePolicy(), FakeRobot(old), steps=20)
    assert report.event is not None and (report.event.cause, report.event.step) == ("frozen", 11)
    new = {step: falls(stamp=step, joint_vel=np.array([0.5, 0.0])) for step in range(20)}
    assert run(FakePolicy(), FakeRobot(new), steps=20).event is None


# A killed commander ------------------------------------------------------------------------------------------------------


class Killed:
    """Speaks for so many steps and then no more."""

    def __init__(self, steps: int) -> None:
        self.steps, self.silence = steps, 0.0

    def __call__(self, time: float, reading: RobotReading) -> Command:
        self.steps -= 1
        self.silence = 0.0 if self.steps > 0 else self.silence + 0.3
        return Command()


def test_a_silent_commander_trips() -> None:
    robot = FakeRobot()
    report = run(FakePolicy(), robot, source=Killed(3), steps=8)
    assert robot.modes == "CCCCDDDD"
    assert (
        report.event is not None and report.event.cause == "silence" and "no command for 0.60 s" in report.event.message
    )
    assert run(FakePolicy(), FakeRobot(), Limits().changed(["silence=off"]), source=Killed(3)).event is None


# What is clipped ---------------------------------------------------------------------------------------------------------


def test_small_excesses_are_clipped() -> None:
    lax = Limits().changed(["torque=off", "joint_margin=0.1"])
    robot = FakeRobot({2: falls(joint_pos=np.array([0.9, 0.0]))})
    policy = FakePolicy({2: np.array([1.25, 0.0]), 4: np.array([2.5, -0.25])})
    report = run(policy, robot, lax)
    assert report.event is None and robot.modes == "C" * 8
    np.testing.assert_allclose(robot.written[2][0], [1.1, 0.0])  # range and 0.1 rad
    np.testing.assert_allclose(robot.written[4][0], [1.1, -0.25])  # from 0.5 by 40 rad/s * 0.02 s, then the range
    assert report.clipped == {"range": 2, "rate": 1}


def test_a_soft_servo_has_a_wider_target_range() -> None:
    """0.4 of 50 N·m by 25 N·m/rad are 0.8 rad; by 100 N·m/rad they are 0.2 rad, less than the margin of 0.25 rad."""
    soft = replace(
        metadata(), stiffness=[25.0, 100.0], safety={"joint_reach": 0.4, "torque": None, "target_rate": None}
    )
    safety = Safety(Limits.of(soft), soft)
    safety.check_reading(0, 0.0, STANDING)
    np.testing.assert_allclose(safety.clip_target(STANDING, np.array([1.79, 1.24])), [1.79, 1.24])
    np.testing.assert_allclose(safety.clip_target(STANDING, np.array([1.81, -1.26])), [1.8, -1.25])
    assert safety.clipped == {"range": 1, "rate": 0} and safety.tripped is None


def test_clipping_for_too_long_trips() -> None:
    limits = Limits().changed(["clipped_time=0.08", "joint_margin=0.1"])  # four steps
    robot = FakeRobot()
    report = run(FakePolicy(dict.fromkeys(range(2, 30), np.array([1.2, -0.25]))), robot, limits, steps=10)
    assert robot.modes == "CCCCCCDDDD"
    assert report.event is not None and report.event.cause == "clipping"
    now_and_then = {step: np.array([1.2, -0.25]) for step in range(30) if step % 3}
    assert run(FakePolicy(now_and_then), FakeRobot(), limits, steps=30).event is None


@given(st.lists(st.lists(st.floats(allow_nan=True, width=32), min_size=2, max_size=2), min_size=1, max_size=12))
def test_written_targets_are_always_within_the_limits(outputs: list[list[float]]) -> None:
    safety, before = Safety(Limits(), metadata()), HERE
    for step, output in enumerate(outputs):
        safety.check_reading(step, step * DT, STANDING)
        target = safety.clip_target(STANDING, np.array(output))
        if safety.tripped is not None:
            assert np.array_equal(safety.damping_target, HERE.astype(np.float32))
            break
        assert np.isfinite(target).all() and np.abs(target).max() <= 1.25 + 1e-6
        assert np.abs(target - before).max() <= 40.0 * DT + 1e-5
        before = target


# Limits ------------------------------------------------------------------------------------------------------------------


def test_not_finite_trips_without_any_limits() -> None:
    robot = FakeRobot()
    report = ControlLoop(FakePolicy({1: NAN}), robot, nothing, DT, realtime=False).run(3)
    assert robot.modes == "CDD" and report.event is not None
    assert "joint 0 is nan" in report.event.message


def test_without_limits_every_finite_target_is_written() -> None:
    robot = frozen(1, falls(root_quat_w=leaning(3.0), joint_vel=np.array([9.0, 9.0]), joint_pos=np.array([7.0, 7.0])))
    report = run(FakePolicy({2: np.array([50.0, 50.0])}), robot, Limits.off())
    assert report.event is None
    np.testing.assert_array_equal(robot.written[2][0], [50.0, 50.0])


def test_limits_are_changed_by_name() -> None:
    limits = Limits().changed(["torque=1.5", "tilt=off"])
    assert (limits.torque, limits.tilt, limits.height) == (1.5, None, 0.6)
    for assignment, message in [
        ("tork=1", "unknown limit 'tork'. Did you mean torque"),
        ("torque=much", "the limit torque is 'much', not a number"),
        ("torque=nan", "the limit torque is nan, not a number from 0 up"),
        ("torque=-1", "the limit torque is -1.0, not a number from 0 up"),
        ("torque", "the limit torque is '', not a number"),
        ("clipped_steps=15", "the limit clipped_steps is now clipped_time, in seconds"),
        ("frozen_steps=off", "the limit frozen_steps is now frozen_time, in seconds"),
    ]:
        with pytest.raises(DeployError) as caught:
            Limits().changed([assignment])
        assert message in caught.value.message


@pytest.mark.parametrize(("rate", "clipped", "frozen"), [(30, 15, 3), (50, 25, 5), (120, 60, 12)])
def test_times_are_the_same_at_every_rate(rate: int, clipped: int, frozen: int) -> None:
    """0.5 s of clipped targets are allowed, 0.1 s of the same measurement are not."""
    safety = Safety(Limits().changed(["torque=off"]), replace(metadata(), control_dt=1.0 / rate))
    for step in range(100):
        if safety.tripped is None:
            safety.check_reading(
                step, step / rate, replace(STANDING, joint_pos=HERE + 1e-6 * np.sin([step, step + 1.0]))
            )
            safety.clip_target(STANDING, np.array([1.3, 0.0]))
    assert safety.tripped is not None and (safety.tripped.cause, safety.tripped.step) == ("clipping", clipped)
    safety.reset()
    for step in range(100):
        safety.check_reading(step, step / rate, replace(STANDING, joint_vel=np.array([0.5, 0.0])))
    assert safety.tripped is not None and (safety.tripped.cause, safety.tripped.step) == ("frozen", frozen)


def test_limits_come_from_the_robot_and_the_command_line_overrides_them() -> None:
    """What a robot does not say, and what only the program can know, keeps its default."""
    described = replace(metadata(), safety={"torque": 1.5, "tilt": None}, fall=Fall(root=0.5))
    limits = Limits.of(described)
    assert (limits.torque, limits.tilt, limits.height, limits.joint_margin, limits.silence) == (
        1.5,
        None,
        0.5,
        0.25,
        0.5,
    )
    assert Limits.of(described).changed(["tilt=1", "height=off"]) == replace(limits, tilt=1.0, height=None)
    assert Limits.of(metadata()) == Limits()


def test_an_export_without_limits_has_the_defaults() -> None:
    defaults = asdict(robot.Safety())
    assert defaults.items() <= vars(Limits()).items()
    schema = json.loads(SCHEMA_FILE.read_text())["$defs"]
    assert list(schema["safety"]["properties"]) == list(defaults)
    fall, tall = Fall(), get_robot("smpl")
    assert (tall.fallen_root, tall.fallen_head) == (fall.root, fall.head) and Limits().height == fall.root
    assert asdict(Camera()) == asdict(tall.camera)


def test_the_cause_is_logged_once_with_its_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="protege.deploy"):
        report = run(FakePolicy({1: np.array([50.0, 0.0])}), FakeRobot())
    [record] = caplog.records
    expected = "step 1, 0.020 s: knee would need 4950 N·m, more than 100; damping. {'torque': 4949."
    assert record.getMessage().startswith(expected)
    assert report.event is not None and report.event.values["limit"] == 100.0


def test_a_second_run_begins_with_a_fresh_state() -> None:
    safety, robot = Safety(Limits(), metadata()), FakeRobot()
    loop = ControlLoop(FakePolicy({1: NAN}), robot, nothing, DT, realtime=False, safety=safety)
    assert loop.run(3).event is not None
    loop.policy = FakePolicy()
    assert loop.run(3).event is None and robot.modes == "CDDCCC"
