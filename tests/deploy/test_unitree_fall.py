"""What follows a fall of the simulated G1: it lies damped; stood up, it starts again only if that was asked for."""

import time
from pathlib import Path

import numpy as np
import pytest

from protege.deploy.commands.commander import Commander
from protege.deploy.interface import Array, Mode, RobotReading
from protege.deploy.loop.loop import ControlLoop, LoopReport, Step
from protege.deploy.loop.start_up import StartUp
from protege.deploy.policy import metadata as _metadata
from protege.deploy.policy.onnx_policy import OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety
from protege.deploy.unitree.cdr import decode
from protege.deploy.unitree.messages import (
    LOW_COMMAND,
    LOW_STATE,
    MOTOR_COMMAND,
    NUM_MOTORS,
    ODOMETRY,
    MessageKind,
)
from protege.deploy.unitree.motors import motors_of
from protege.deploy.unitree.robot import reading_of
from protege.deploy.unitree.simulated import STEP_PERIOD, SimulatedRobot, load_model

G1 = motors_of("g1")
FORCE, PUSH_STEPS = 900.0, 10  # N ahead, for 0.2 s: no policy stands that
FALL_AT, LIFT_AFTER, UP = 50, 60, 100  # steps: of the push, from the fall to the gantry, of being upright


class Memory:
    """A bus without a network: the newest message of each topic."""

    def __init__(self) -> None:
        self.newest, self.dropped = dict[str, np.ndarray](), dict[str, int]()

    def publish(self, message: np.ndarray, kind: MessageKind) -> None:
        self.newest[kind.topic] = message.copy()

    def publish_bytes(self, data: bytes, kind: MessageKind) -> None:
        self.newest[kind.topic] = decode(data, kind)

    def take(self, kind: MessageKind) -> np.ndarray | None:
        return self.newest.pop(kind.topic, None)

    def close(self) -> None: ...


class InStep:
    """The simulated robot in step with the loop: the messages of `UnitreeRobot` without its thread."""

    def __init__(self, export: Path) -> None:
        self.metadata, self.bus = _metadata.load(export), Memory()
        pose = dict(zip(self.metadata.joint_names, self.metadata.default_joint_pos, strict=True))
        model = load_model((export / "robot.xml").read_text(), G1)
        self.simulated = SimulatedRobot(model, G1, pose, bus=self.bus)  # pyright: ignore[reportArgumentType]
        self._order = G1.order(self.metadata.joint_names)
        self.modes = list[Mode]()
        self.simulated.step()

    def read(self) -> RobotReading:
        return reading_of(self.bus.newest[LOW_STATE.topic], self.bus.newest[ODOMETRY.topic], self._order)

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        self.modes.append(mode)
        message, driven = LOW_COMMAND.zeros(), np.zeros(len(self._order), MOTOR_COMMAND)
        driven["mode"], driven["q"], driven["kd"] = 1, joint_target, self.metadata.damping
        driven["kp"] = np.array(self.metadata.stiffness) * (mode is Mode.CONTROL)
        motors = np.zeros(NUM_MOTORS, MOTOR_COMMAND)
        motors[self._order] = driven
        message["mode_machine"], message["motor_cmd"] = G1.mode_machine, motors
        for _ in range(round(self.metadata.control_dt / STEP_PERIOD)):
            self.bus.publish(message, LOW_COMMAND)
            self.simulated.step()

    def close(self) -> None: ...


@pytest.fixture(scope="module")
def g1_walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped student of the G1, exported."""
    from protege.deploy.export.export import export

    return export("zoo:g1_student", tmp_path_factory.mktemp("g1") / "student")


def walk_and_fall(export: Path, *, resumes: bool, lifts: bool, steps: int) -> tuple[LoopReport, InStep, list[Step]]:
    """A walk, a push, a fall; after 1.2 s on the ground the gantry lifts the robot, if it is to."""
    robot, policy, shown = InStep(export), OnnxPolicy(export), list[Step]()
    commander = Commander(policy, clock=lambda: 0.0)
    commander.order({"steering": {"speed": 0.8}})
    start = StartUp(policy.metadata.default_joint_pos, 0.02, ramp=60, hold=1.0, resumes=resumes)
    safety = Safety(Limits.of(policy.metadata), policy.metadata)
    loop = ControlLoop(policy, robot, commander, 0.02, realtime=False, safety=safety, start_up=start)

    def act(step: Step) -> None:
        shown.append(step)
        pushed = FALL_AT <= step.index < FALL_AT + PUSH_STEPS
        robot.simulated.push = np.array([FORCE, 0.0, 0.0]) if pushed else np.zeros(3)
        damped = sum(x.mode is Mode.DAMPING for x in shown)
        if lifts and step.mode is Mode.DAMPING and damped == LIFT_AFTER:
            robot.simulated.lift()

    loop.on_step = act
    return loop.run(steps), robot, shown


def test_a_fallen_robot_that_was_lifted_stands_until_the_next_order(g1_walker: Path) -> None:
    report, robot, shown = walk_and_fall(g1_walker, resumes=True, lifts=True, steps=500)
    assert report.event is None and [event.cause for event in report.resumed] == ["fall"]
    assert robot.simulated.falls == 1 and not robot.simulated.held
    # Damped from the fall until it was upright for two seconds, and never again.
    modes = [step.mode for step in shown]
    fell = modes.index(Mode.DAMPING)
    assert modes[fell : fell + LIFT_AFTER + UP] == [Mode.DAMPING] * (LIFT_AFTER + UP)
    assert report.damped_steps <= LIFT_AFTER + UP + 2 and set(modes[fell + report.damped_steps :]) == {Mode.CONTROL}
    # Then the order to walk no longer counts.
    assert robot.simulated.height > 0.9 * robot.simulated._hung[2] and robot.simulated.tilt < 0.3
    assert shown[-1].command is not None and shown[-1].command.steering_speed == 0.0
    assert np.linalg.norm(shown[-1].reading.measured_root_pos_w - shown[-100].reading.measured_root_pos_w) < 0.1


@pytest.mark.parametrize(("resumes", "lifts"), [(False, True), (True, False)])
def test_it_stays_down_by_default_and_until_it_is_lifted(g1_walker: Path, resumes: bool, lifts: bool) -> None:
    report, robot, shown = walk_and_fall(g1_walker, resumes=resumes, lifts=lifts, steps=400)
    assert report.event is not None and report.event.cause == "fall" and not report.resumed
    modes = [step.mode for step in shown]
    assert set(modes[modes.index(Mode.DAMPING) :]) == {Mode.DAMPING}
    assert robot.simulated.held is lifts and robot.simulated.falls == 1


def test_a_slow_machine_is_behind_real_time(g1_walker):
    robot = InStep(g1_walker).simulated
    step = robot.step

    def slow() -> None:
        time.sleep(0.02)
        step()

    robot.step = slow
    simulated, began = robot.data.time, time.monotonic()
    robot.run(0.5)
    late = time.monotonic() - began - (robot.data.time - simulated)
    assert robot.lost == pytest.approx(late, abs=0.05) and robot.lost > 0.3
