"""The robot's side on real ONNX Runtime and real MuJoCo."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.deploy.commands.path import PathCommand
from protege.deploy.errors import DeployError
from protege.deploy.export.check import compare
from protege.deploy.export.export import load_graph
from protege.deploy.interface import Command, Mode, RobotReading
from protege.deploy.loop.closed_loop import run_closed_loop
from protege.deploy.loop.loop import STAGES, ControlLoop
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety
from protege.sim.robots.mjcf import build_spec

PATH = np.linspace([0.5, 0.0], [5.0, 0.0], 10)


def test_the_policy_updates_its_history_like_the_graph(each_student: Path, each_exported: Path) -> None:
    _, graph, _ = load_graph(each_student)
    policy, robot = OnnxPolicy(each_exported), MujocoRobot(each_exported)
    seen: list[dict[str, np.ndarray]] = []
    policy.on_inputs = seen.append
    for _ in range(6):
        target = policy.act(robot.read(), Command(path_w=PATH))
        inputs = {name: torch.from_numpy(array) for name, array in seen[-1].items()}
        expected = graph(*(inputs[spec.name] for spec in graph.specs))[0][0].numpy()
        np.testing.assert_allclose(target, expected, atol=1e-5)
        robot.write(target)
    assert [bool(step["reset"][0]) for step in seen] == [True] + [False] * 5
    # One step's proprioception is the next one's newest memory.
    np.testing.assert_array_equal(seen[4]["history"][0, 0], seen[5]["history"][0, 1])
    policy.reset()
    policy.act(robot.read(), Command(path_w=PATH))
    assert seen[-1]["reset"][0]
    states = {name: torch.from_numpy(np.concatenate([step[name] for step in seen])) for name in seen[0]}
    assert compare(each_exported, graph, states).joint_target < 1e-5


def test_masks_follow_from_the_command(exported: Path) -> None:
    policy, reading = OnnxPolicy(exported), MujocoRobot(exported).read()
    seen: list[dict[str, np.ndarray]] = []
    policy.on_inputs = seen.append
    assert policy.modalities == ["path", "goal", "steering", "poses"]
    east, bodies = np.array([1.0, 0.0]), np.zeros((4, 24, 3))
    turns = np.tile([1.0, 0.0, 0.0, 0.0], (4, 24, 1))
    policy.act(reading, Command())
    policy.act(reading, Command(goal_w=east, goal_time_left=2.0))
    policy.act(reading, Command(path_w=PATH, steering_direction_w=east, steering_speed=1.0))
    policy.act(reading, Command(target_body_pos_w=bodies, target_body_quat_w=turns))
    # Without a command the policy is commanded to stand: steering at 0 m/s, in the robot's heading.
    np.testing.assert_allclose(
        seen[0]["steering_direction_w"][0], [np.cos(reading.yaw), np.sin(reading.yaw)], atol=1e-6
    )
    assert seen[0]["steering_speed"].tolist() == [0.0]
    assert [step["command_mask"][0].astype(int).tolist() for step in seen] == [
        [0, 0, 1],
        [0, 1, 0],
        [1, 0, 1],
        [0, 0, 0],
    ]
    assert [bool(step["pose_mask"].all()) for step in seen] == [False, False, False, True]
    assert seen[1]["goal_time_left"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (Command(path_w=np.zeros((9, 2))), r"path_w has shape \(9, 2\), this policy needs \(10, 2\)"),
        (Command(goal_w=np.zeros(2)), "goal command needs goal_w and goal_time_left"),
        (Command(target_body_pos_w=np.zeros((4, 24, 3))), "needs target_body_pos_w and target_body_quat_w"),
    ],
)
def test_a_wrong_command_is_reported(exported: Path, command: Command, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        OnnxPolicy(exported).act(MujocoRobot(exported).read(), command)


def test_an_unknown_provider_is_reported(exported: Path) -> None:
    with pytest.raises(DeployError, match="unknown provider 'abacus'"):
        OnnxPolicy(exported, provider="abacus")
    with pytest.raises(DeployError, match=r"no tensorrt.*\[gpu\]"):
        OnnxPolicy(exported, provider="tensorrt")


def test_the_exported_robot_is_the_simulators(each_exported: Path, robot: Robot) -> None:
    """Same state, same targets: the same second of physics as the training's model, to the MJCF's six digits."""
    body, reference = MujocoRobot(each_exported), build_spec(robot).compile()
    data = mujoco.MjData(reference)
    data.qpos[:], data.qvel[:] = body.data.qpos, body.data.qvel
    target = data.qpos[7:].copy()
    for _ in range(round(0.5 / robot.control_dt)):
        body.write(target)
        data.ctrl[:] = target
        mujoco.mj_step(reference, data, robot.substeps)
    np.testing.assert_allclose(body.data.qpos, data.qpos, atol=1e-3)
    assert body.model.opt.timestep == robot.physics_dt


def test_reading_is_in_the_world_frame(each_exported: Path, robot: Robot) -> None:
    kinematics, robot = Kinematics(robot), MujocoRobot(each_exported)
    robot.data.qpos[3:7] = [np.cos(0.4), 0.0, np.sin(0.4), 0.0]  # leaning forward
    robot.data.qvel[3:6] = [0.0, 0.0, 2.0]  # about its own z axis
    reading = robot.read()
    np.testing.assert_allclose(reading.root_ang_vel_w, [2.0 * np.sin(0.8), 0.0, 2.0 * np.cos(0.8)], atol=1e-12)
    mujoco.mj_forward(robot.model, robot.data)
    root, joints = (torch.from_numpy(x).float()[None] for x in (reading.root_pos_w, reading.joint_pos))
    quat = torch.from_numpy(reading.root_quat_w).float()[None]
    expected, _ = kinematics(root, quat, joints)
    np.testing.assert_allclose(robot.data.xpos[1:], expected[0].numpy(), atol=1e-5)


def test_damping_has_no_stiffness_and_control_has_it_again(each_exported: Path) -> None:
    robot = MujocoRobot(each_exported, standing=True)
    damping = np.array(robot.metadata.damping)
    far = robot.read().joint_pos + 0.3
    robot.write(far, Mode.DAMPING)
    np.testing.assert_allclose(robot.data.actuator_force, -damping * robot.data.actuator_velocity, atol=1e-9)
    robot.write(far)
    stiff = np.array(robot.metadata.stiffness) * (far - robot.data.actuator_length)
    np.testing.assert_allclose(robot.data.actuator_force, stiff - damping * robot.data.actuator_velocity, rtol=1e-6)
    assert np.abs(robot.data.actuator_force).max() > 0.1 * max(robot.metadata.stiffness)


def test_a_damped_robot_sinks(each_exported: Path) -> None:
    robot = MujocoRobot(each_exported, standing=True)
    for _ in range(round(2.0 / robot.metadata.control_dt)):
        robot.write(robot.read().joint_pos, Mode.DAMPING)
    assert robot.has_fallen and np.isfinite(robot.data.qpos).all() and np.abs(robot.read().joint_vel).max() < 20.0


def test_standing_starts_on_the_ground(each_exported: Path) -> None:
    robot = MujocoRobot(each_exported, standing=True)
    np.testing.assert_array_equal(robot.read().joint_pos, robot.metadata.default_joint_pos)
    mujoco.mj_forward(robot.model, robot.data)
    assert robot.data.ncon == 0 and not robot.has_fallen
    robot.data.qpos[2] -= 2e-3
    mujoco.mj_forward(robot.model, robot.data)
    assert robot.data.ncon > 0
    robot.data.qpos[2] = 0.2
    assert robot.has_fallen


def test_a_fall_depends_on_the_robots_own_head_and_share(each_exported: Path, robot: Robot) -> None:
    simulated = MujocoRobot(each_exported, standing=True)
    fall, height = simulated.metadata.fall, simulated.data.body(robot.head).xpos[2]
    simulated.metadata = replace(simulated.metadata, fall=replace(fall, root=0.0))
    for lower, fallen in ((0.29, False), (0.31, True)):  # 1 - 0.7, a hundredth less and more
        simulated.reset()
        simulated.data.qpos[2] -= lower * height
        assert simulated.has_fallen == fallen
    simulated.metadata = replace(simulated.metadata, fall=replace(fall, root=0.0, head=0.5))
    assert not simulated.has_fallen


def test_one_second_in_real_time(each_exported: Path) -> None:
    policy, robot = OnnxPolicy(each_exported), MujocoRobot(each_exported)
    command = PathCommand.arc(robot.read().pose_2d, 1.0, 0.0, 6.0, policy.metadata.path_times)
    started = time.perf_counter()
    result = run_closed_loop(ControlLoop(policy, robot, command, policy.metadata.control_dt), 1.0)
    steps = round(1.0 / policy.metadata.control_dt)
    assert time.perf_counter() - started >= (steps - 1) / steps
    assert result["loop"]["steps"] == steps and result["loop"]["event"] is None
    stages = result["loop"]["stages_ms"]
    assert tuple(stages) == STAGES
    for times in stages.values():
        assert list(times) == ["p50", "p95", "p99", "p99.9", "max"] and 0.0 <= times["p50"] <= times["max"]
    assert 0.0 < stages["infer"]["p50"] < stages["cycle"]["p50"]
    assert robot.data.time == pytest.approx(1.0)


class Sabotage:
    """A policy and a robot, wrapped; from step 5 on one of them fails."""

    def __init__(self, policy: OnnxPolicy, robot: MujocoRobot, how: str) -> None:
        self.policy, self.robot, self.how, self.step = policy, robot, how, -1
        self.reset, self.close = policy.reset, robot.close

    def read(self) -> RobotReading:
        self.step += 1
        if self.how != "frozen sensor" or self.step <= 5:
            self.reading = self.robot.read()
        return self.reading

    def act(self, reading: RobotReading, command: Command) -> np.ndarray:
        target = self.policy.act(reading, command)
        if self.step >= 5 and self.how == "NaN":
            target[7] = np.nan
        if self.step >= 5 and self.how == "extreme actions":
            target = target + 20.0
        return target

    def write(self, joint_target: np.ndarray, mode: Mode = Mode.CONTROL) -> None:
        self.robot.write(joint_target, mode)


@pytest.mark.parametrize(
    ("how", "cause", "after"),
    [("NaN", "policy", 0), ("extreme actions", "torque", 0), ("frozen sensor", "frozen", 0.1)],
)
def test_an_invalid_policy_output_ends_in_damping_within_the_same_period(
    how: str, cause: str, after: float, each_exported: Path
) -> None:
    """after: s from the step of the sabotage."""
    policy, robot = OnnxPolicy(each_exported), MujocoRobot(each_exported)
    sabotage, stiff = Sabotage(policy, robot, how), list[bool]()
    command = PathCommand.arc(robot.read().pose_2d, 1.0, 0.0, 6.0, policy.metadata.path_times)
    # What the untrained policy does by itself is not to count.
    limits = Limits.of(policy.metadata).changed(["clipped_time=off", "height=off", "tilt=off"])
    safety, step = Safety(limits, policy.metadata), 5 + round(after / policy.metadata.control_dt)
    loop = ControlLoop(sabotage, sabotage, command, policy.metadata.control_dt, realtime=False, safety=safety)
    loop.on_step = lambda step: stiff.append(bool(robot.model.actuator_gainprm[:, 0].any()))
    report = loop.run(30)
    assert report.event is not None and (report.event.cause, report.event.step) == (cause, step)
    assert stiff == [True] * step + [False] * (30 - step)
    assert np.isfinite(robot.data.qpos).all()


def test_the_runtime_imports_neither_torch_nor_core(exported: Path) -> None:
    program = """
import sys
from protege.deploy.commands.commander import Commander
from protege.deploy.safety.limits import Limits
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.runtime import OnnxPolicy
from protege.deploy.safety.safety import Safety
from protege.deploy.commands.sources.script import Script
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.loop.closed_loop import run_closed_loop
from protege.deploy.commands.steering import SteeringCommand
import protege.deploy.cli.main
policy, robot = OnnxPolicy(sys.argv[1]), MujocoRobot(sys.argv[1])
command = SteeringCommand(robot.read().pose_2d.direction(0.0), 1.0)
loop = ControlLoop(policy, robot, command, 1 / 30, realtime=False, safety=Safety(Limits.of(policy.metadata), policy.metadata))
run_closed_loop(loop, 0.2, robot.body_poses)
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "onnx", "onnxscript"}))
print([name for name in sys.modules if name.startswith("protege.") and not name.startswith("protege.deploy")])
"""
    done = subprocess.run([sys.executable, "-c", program, str(exported)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]
