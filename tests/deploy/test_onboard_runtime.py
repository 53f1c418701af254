"""Policies with onboard sensors at the robot: in closed loop, on robots that know their place and on those that do not."""

import json
import socket
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from fakes import state_packet
from students import env_config, make_env

from protege.core import observations
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.runs.load_policy import load_policy
from protege.deploy.cli.main import main
from protege.deploy.commands.commander import Commander
from protege.deploy.commands.goal import GoalCommand
from protege.deploy.commands.motion import MotionCommand
from protege.deploy.commands.path import PathCommand
from protege.deploy.commands.steering import SteeringCommand
from protege.deploy.errors import DeployError
from protege.deploy.export.export import load_graph
from protege.deploy.interface import Command, RobotReading, standing_command
from protege.deploy.loop.closed_loop import run_closed_loop
from protege.deploy.loop.comparison import compare, replay
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.loop.recorder import Recorder
from protege.deploy.loop.recording import load as load_recording
from protege.deploy.motions.clips import load_clip
from protege.deploy.network.wire import Codec
from protege.deploy.policy.metadata import Imu, StartState
from protege.deploy.policy.sensor_inputs import in_heading_frame, measured_inputs
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.robots.udp import UdpRobot
from protege.deploy.runtime import OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

EAST = np.array([1.0, 0.0])
KINDS = ["path", "goal", "steering", "motion"]


class Blind:
    """A robot of MuJoCo that does not know where it is, nor how high, nor how fast it moves."""

    def __init__(self, robot: MujocoRobot) -> None:
        self.robot = robot
        self.write, self.close = robot.write, robot.close

    def read(self) -> RobotReading:
        return replace(self.robot.read(), root_pos_w=None, root_lin_vel_w=None)


def command_of(kind: str, policy: OnnxPolicy, robot: MujocoRobot, walk: str):
    here, metadata = robot.read().pose_2d, policy.metadata
    if kind == "motion":
        return MotionCommand(load_clip(walk, metadata, robot.body_poses).placed(here), robot.body_poses, metadata)
    return {
        "path": PathCommand.random(here, 3, 2.0, metadata.path_times),
        "goal": GoalCommand.ahead(here, (2.0, -1.0)),
        "steering": SteeringCommand(here.direction(40.0), 1.2),
    }[kind]


def walk_of(robot: Robot) -> str:
    return f"data/motions/{robot.name}_humanoid_walk.npy"


# The same senses -----------------------------------------------------------------------------------------------------------


def test_in_closed_loop_it_acts_as_in_the_environment(each_onboard: tuple[Path, Path], robot: Robot) -> None:
    """The training's policy in the training's env, and the export at a robot in MuJoCo, from one state: the same targets."""
    checkpoint, folder = each_onboard
    config = env_config(3, {"steering": 1.0}, robot)
    steering = replace(config.steering_params, body_termination_distance=0.0)
    config = replace(config, num_envs=1, episode_length_s=5.0, steering_params=steering)
    env, student = make_env(config, robot, "onboard"), load_policy(checkpoint).policy
    obs = env.reset()
    state = env.state[0]
    there, policy = MujocoRobot(folder), OnnxPolicy(folder)
    there.reset(StartState(**{name: getattr(state, name).tolist() for name in StartState.__dataclass_fields__}))
    for _ in range(8):
        mean = student.distribution(obs)[0]
        expected = (env.default_joint_pos + env.action_scale * mean)[0].numpy()
        inputs = {name: x[0].numpy() for name, x in env.tasks["steering"].command.inputs().items()}
        command = Command(
            steering_direction_w=inputs["steering_direction_w"], steering_speed=float(inputs["steering_speed"])
        )
        target = policy.act(there.read(), command)
        np.testing.assert_allclose(target, expected, atol=2e-3)
        there.write(target)
        step = env.step(mean)
        assert not step.ended.any()
        obs = step.obs


@pytest.mark.parametrize("kind", KINDS)
def test_it_measures_no_position_height_or_velocity(kind: str, each_onboard: tuple[Path, Path], robot: Robot) -> None:
    """The robot 3 m aside, 5 cm higher and 0.3 m/s faster, and its command with it: the same inputs, but for rounding."""
    policy, other, body = *(OnnxPolicy(each_onboard[1]) for _ in range(2)), MujocoRobot(each_onboard[1])
    fed: list[dict[str, np.ndarray]] = []
    policy.on_inputs = other.on_inputs = fed.append
    reading = body.read()
    assert reading.root_pos_w is not None and reading.root_lin_vel_w is not None
    command = command_of(kind, policy, body, walk_of(robot))(0.0, reading)
    policy.act(reading, command)
    aside = np.array([0.0, 3.0, 0.0])
    moved = replace(
        reading,
        root_pos_w=reading.root_pos_w + aside + 0.05 * np.eye(3)[2],
        root_lin_vel_w=reading.root_lin_vel_w + 0.3 * np.eye(3)[0],
    )
    along = {name: value + aside[: value.shape[-1]] for name in ("path_w", "goal_w", "target_body_pos_w")
             if (value := getattr(command, name)) is not None}  # fmt: skip
    other.act(moved, replace(command, **along))
    assert fed[0].keys() == fed[1].keys()
    offset = "target_body_pos_h"  # whose origin is free: only differences within the body count
    for name in fed[0].keys() - {offset}:
        np.testing.assert_allclose(fed[0][name], fed[1][name], atol=1e-6, err_msg=name)
    within = [x[offset] - x[offset][..., :1, :] for x in fed]
    np.testing.assert_allclose(*within, atol=1e-6)
    np.testing.assert_allclose(*(x[offset][..., 2] for x in fed), atol=1e-6)


def test_commands_in_the_heading_frame_by_hand() -> None:
    left = np.array([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])  # faces world y
    reading = RobotReading(np.array([1.0, 2.0, 0.9]), left, np.zeros(3), np.zeros(3), np.zeros(1), np.zeros(1))
    np.testing.assert_allclose(in_heading_frame("goal_h", "m", np.array([1.0, 5.0]), reading), [3.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(
        in_heading_frame("path_h", "m", np.array([[0.0, 2.0], [2.0, 2.0]]), reading), [[0, 1], [0, -1]], atol=1e-12
    )
    np.testing.assert_allclose(in_heading_frame("steering_direction_h", "1", EAST, reading), [0.0, -1.0], atol=1e-12)
    np.testing.assert_allclose(
        in_heading_frame("target_body_pos_h", "m", np.array([0.0, 2.0, 0.7]), reading), [2.0, 0.0, 0.7], atol=1e-12
    )
    np.testing.assert_allclose(
        in_heading_frame("target_body_quat_h", "1", left, reading), [1.0, 0.0, 0.0, 0.0], atol=1e-12
    )


# Robots that do not know where they are ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["steering", "motion"])
def test_a_robot_without_a_position_acts_alike(kind: str, each_onboard: tuple[Path, Path], robot: Robot) -> None:
    """Steering and motions need no place: targets are the same as with one."""
    policies = [OnnxPolicy(each_onboard[1]) for _ in range(2)]
    body = MujocoRobot(each_onboard[1])
    blind, source = Blind(body), command_of(kind, policies[0], body, walk_of(robot))
    for step in range(6):
        time = step * policies[0].metadata.control_dt
        knowing, blinded = (
            policy.act(reading, source(time, reading))
            for policy, reading in zip(policies, (body.read(), blind.read()), strict=True)
        )
        np.testing.assert_array_equal(knowing, blinded)
        body.write(knowing)


@pytest.mark.parametrize("kind", ["steering", "motion"])
def test_a_loop_runs_on_a_robot_without_a_position(kind: str, each_onboard: tuple[Path, Path], robot: Robot) -> None:
    policy, body = OnnxPolicy(each_onboard[1]), MujocoRobot(each_onboard[1])
    safety = Safety(Limits.off(), policy.metadata)
    command = command_of(kind, policy, body, walk_of(robot))
    loop = ControlLoop(policy, Blind(body), command, policy.metadata.control_dt, realtime=False, safety=safety)
    result = run_closed_loop(loop, 0.5, body.body_poses)
    assert result["loop"]["steps"] == round(0.5 / policy.metadata.control_dt) and result["loop"]["event"] is None
    assert result["walked_m"] is None and result["errors"] == {}


def test_a_fall_is_detected_by_the_tilt_without_a_measured_height(each_onboard: tuple[Path, Path]) -> None:
    policy = OnnxPolicy(each_onboard[1])
    reading = Blind(MujocoRobot(each_onboard[1], standing=True)).read()
    safety = Safety(Limits.of(policy.metadata), policy.metadata)
    safety.check_reading(0, 0.0, reading)
    assert safety.tripped is None
    safety.check_reading(1, 0.0, replace(reading, root_quat_w=np.array([np.cos(0.7), np.sin(0.7), 0.0, 0.0]), stamp=1))
    assert safety.tripped is not None and safety.tripped.cause == "fall" and "leans" in safety.tripped.message


@pytest.mark.parametrize("kind", ["path", "goal"])
def test_a_world_frame_position_is_refused_in_one_line(
    kind: str, each_onboard: tuple[Path, Path], robot: Robot
) -> None:
    policy, body = OnnxPolicy(each_onboard[1]), MujocoRobot(each_onboard[1])
    source, reading = command_of(kind, policy, body, walk_of(robot)), Blind(body).read()
    with pytest.raises(DeployError, match="this robot does not know where it is") as caught:
        source(0.0, reading)
    assert "\n" not in caught.value.message
    command = source(0.0, body.read())
    with pytest.raises(DeployError, match=f"so {kind} in the world means nothing to it.*command {kind}_h"):
        policy.act(reading, command)


def test_an_order_that_needs_a_position_is_refused_when_it_is_given(each_onboard: tuple[Path, Path]) -> None:
    """And the loop goes on with the order before."""
    policy, body = OnnxPolicy(each_onboard[1]), MujocoRobot(each_onboard[1])
    commander, blind = Commander(policy, body.body_poses), Blind(body)
    command = commander(0.0, blind.read())
    for order in ({"goal": {"point": (1.0, 2.0)}}, {"path": {"points": [(3.0, 0.0)]}}):
        with pytest.raises(DeployError, match=f"does not know where it is, as a {next(iter(order))} needs"):
            commander.order(order)
    again = commander(0.1, blind.read())
    assert command.steering_speed == again.steering_speed == 0.0
    commander.order({"steering": {"speed": 1.0, "direction": 90.0}})
    assert commander(0.2, blind.read()).steering_speed == 1.0
    commander(0.3, body.read())
    commander.order({"goal": {"point": (1.0, 2.0)}})  # of a robot that knows


def test_recordings_of_a_robot_without_a_position(each_onboard: tuple[Path, Path], tmp_path: Path) -> None:
    policy, body = OnnxPolicy(each_onboard[1]), MujocoRobot(each_onboard[1])
    command, dt = SteeringCommand(EAST, 1.0), policy.metadata.control_dt
    loop = ControlLoop(policy, Blind(body), command, dt, realtime=False)
    with Recorder(tmp_path / "run.npz", policy.metadata) as recorder:
        policy.on_inputs, loop.on_step = recorder.feed, recorder
        loop.run(5)
    run = load_recording(tmp_path / "run.npz")
    assert np.isnan(run.columns["root_pos_w"]).all() and np.isfinite(run.columns["root_quat_w"]).all()
    assert replay(OnnxPolicy(each_onboard[1]), run, 1e-5).max_target < 1e-6
    assert compare(run, run, 1e-5).mean_root is None
    done = CliRunner().invoke(main, ["clip", str(run.path), "--output", str(tmp_path / "run.npy")])
    assert done.exit_code == 2 and "does not know where it is" in done.output


def test_a_position_in_the_heading_frame_is_accepted(each_onboard: tuple[Path, Path]) -> None:
    policy, body = OnnxPolicy(each_onboard[1]), MujocoRobot(each_onboard[1])
    fed: list[dict[str, np.ndarray]] = []
    policy.on_inputs = fed.append
    ahead = np.linspace([0.5, 0.0], [5.0, 0.0], 10)
    policy.act(Blind(body).read(), Command(raw={"path": {"path_h": ahead}}))
    policy.reset()
    policy.act(body.read(), Command(path_w=body.read().pose_2d.to_world(ahead)))
    np.testing.assert_allclose(fed[0]["path_h"][0], ahead, atol=1e-6)
    np.testing.assert_allclose(fed[0]["path_h"], fed[1]["path_h"], atol=1e-6)
    assert fed[0]["command_mask"][0].tolist() == fed[1]["command_mask"][0].tolist() == [True, False, False]


def test_without_a_command_the_robot_stands_where_it_is(each_onboard: tuple[Path, Path]) -> None:
    reading = Blind(MujocoRobot(each_onboard[1])).read()
    assert standing_command(reading, ["path", "goal", "steering"], 10).steering_speed == 0.0
    goal, path = standing_command(reading, ["path", "goal"], 10), standing_command(reading, ["path"], 10)
    assert goal.raw["goal"]["goal_h"].tolist() == [0.0, 0.0] and list(goal.raw) == ["goal"]
    assert path.raw["path"]["path_h"].shape == (10, 2) and standing_command(reading, [], 10).empty


def test_a_full_state_policy_is_refused_in_one_line(each_exported: Path) -> None:
    policy, body = OnnxPolicy(each_exported), MujocoRobot(each_exported)
    command = Command(steering_direction_w=EAST, steering_speed=0.0)
    with pytest.raises(DeployError, match="does not measure root_pos_w, which the policy reads") as caught:
        policy.act(Blind(body).read(), command)
    assert "model.sensors=onboard" in caught.value.message and "\n" not in caught.value.message
    with pytest.raises(DeployError, match="does not measure root_lin_vel_w"):
        policy.act(replace(body.read(), root_lin_vel_w=None), command)


# The IMU -------------------------------------------------------------------------------------------------------------------


def test_an_imu_on_the_root_is_rotated_by_its_mounting(each_onboard: tuple[Path, Path], robot: Robot) -> None:
    body = MujocoRobot(each_onboard[1])
    mount = [np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0]
    described = replace(body.metadata, imu=Imu(robot.body_names[0], mount))
    body.data.qvel[3:6] = [1.0, 2.0, 3.0]
    inputs = measured_inputs(body.read(), described)
    np.testing.assert_allclose(inputs["imu_ang_vel"], [3.0, 2.0, -1.0], atol=1e-5)
    assert set(inputs) == {"imu_quat", "imu_ang_vel", "joint_pos", "joint_vel"}


def test_an_imu_on_another_body_matches_the_env(each_onboard: tuple[Path, Path], robot: Robot) -> None:
    body = MujocoRobot(each_onboard[1])
    torso, mount = robot.groups.torso, [0.5, 0.5, -0.5, 0.5]
    body.metadata = replace(body.metadata, imu=Imu(torso, mount))
    generator = np.random.default_rng(0)
    body.data.qvel[:] = generator.normal(size=body.data.qvel.shape)
    reading = body.read()
    assert torso != robot.body_names[0]
    state = Kinematics(robot).state(
        *(torch.as_tensor(np.asarray(getattr(reading, name)))[None].float() for name in
          ("root_pos_w", "root_quat_w", "root_lin_vel_w", "root_ang_vel_w", "joint_pos", "joint_vel"))
    )  # fmt: skip
    quat, ang_vel = observations.imu(state, robot.body_names.index(torso), torch.tensor(mount))
    inputs = measured_inputs(reading, body.metadata)
    np.testing.assert_allclose(inputs["imu_ang_vel"], ang_vel[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(np.abs(inputs["imu_quat"] @ quat[0].numpy()), 1.0, atol=1e-6)
    silent = replace(reading, imu_quat=None, imu_ang_vel=None)
    with pytest.raises(DeployError, match=f"does not measure imu_quat, which the policy reads; its IMU is on {torso}"):
        measured_inputs(silent, body.metadata)


# UDP, files, commands --------------------------------------------------------------------------------------------------------


def calling(reading: RobotReading, folder: Path) -> UdpRobot:
    """A robot process that repeats the same state until it gets an answer."""
    metadata = OnnxPolicy(folder).metadata
    codec, done = Codec(metadata.joint_names), threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        place = probe.getsockname()[:2]
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def call() -> None:
        while not done.wait(0.01):
            client.sendto(state_packet(codec, 10, 0.0, reading), place)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        return UdpRobot(place, metadata)
    finally:
        done.set()
        thread.join()
        client.close()


def test_a_robot_process_may_leave_out_its_position(each_onboard: tuple[Path, Path], each_exported: Path) -> None:
    measured = MujocoRobot(each_onboard[1]).read()
    unknown = replace(measured, root_pos_w=np.full(3, np.nan), root_lin_vel_w=np.full(3, np.nan))
    robot = calling(unknown, each_onboard[1])
    reading = robot.read()
    robot.close()
    assert reading.root_pos_w is None and reading.root_lin_vel_w is None
    command = Command(steering_direction_w=EAST, steering_speed=1.0)
    target = OnnxPolicy(each_onboard[1]).act(reading, command)
    np.testing.assert_allclose(target, OnnxPolicy(each_onboard[1]).act(measured, command), atol=1e-4)
    with pytest.raises(DeployError, match="does not measure root_pos_w, which the policy reads"):
        calling(unknown, each_exported)


def test_a_partly_nan_position_is_invalid(each_onboard: tuple[Path, Path]) -> None:
    measured = MujocoRobot(each_onboard[1]).read()
    robot = calling(measured, each_onboard[1])
    broken = replace(measured, root_pos_w=np.array([0.0, np.nan, 0.9]))
    codec = robot.codec
    robot._accept(state_packet(codec, 11, 0.0, broken), ("127.0.0.1", 1))
    robot.close()
    assert robot.dropped["not finite"] == 1


@pytest.mark.parametrize("task", KINDS)
def test_a_run_is_recorded_and_replayed(
    task: str, each_onboard: tuple[Path, Path], robot: Robot, tmp_path: Path
) -> None:
    recording, folder = tmp_path / "run.npz", str(each_onboard[1])
    motion = ["--motion-file", walk_of(robot)] if task == "motion" else []
    given = [
        "run",
        folder,
        "--fast",
        "--no-safety",
        "--seconds",
        "0.5",
        "--task",
        task,
        *motion,
        "--record",
        str(recording),
    ]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    with np.load(recording) as file:
        columns, about = {name: file[name] for name in file.files}, json.loads(file["about"].tobytes())
    assert about["sensors"] == "onboard" and np.isfinite(columns["root_pos_w"]).all()
    assert {"imu_quat", "imu_ang_vel", "last_action", "root_pos_w", "root_quat_w"} <= set(columns)
    again = CliRunner().invoke(main, ["replay", str(recording), folder])
    assert again.exit_code == 0, again.output


def test_states_of_closed_loops_check_it(each_onboard: tuple[Path, Path]) -> None:
    checkpoint, folder = map(str, each_onboard)
    given = ["check", folder, "--checkpoint", checkpoint, "--states", "recorded", "--num-states", "40"]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert load_graph(checkpoint)[1].onboard


def test_the_viewer_runs_an_onboard_policy(each_onboard: tuple[Path, Path]) -> None:
    from waiting import seen as frame_of
    from waiting import until

    from protege.deploy.viewer.simulation import Simulation

    simulation = Simulation({"onboard": each_onboard[1]})
    simulation.start()
    try:
        until(lambda: simulation.frame is not None, "no frame")
        until(lambda: frame_of(simulation).index > 3, "it does not go on")
        simulation.order({"goal": {"point": (1.0, 2.0), "frame": "world"}})
        until(lambda: frame_of(simulation).modes == ("goal",), "the goal was not taken")
    finally:
        simulation.close()
    assert simulation.error is None
