"""Peers' runtimes: holosoma-inference runs our policy in its own code, step for step what our runtime does."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import holosoma_inference
import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from holosoma_inference.config.config_values.inference import g1_29dof_loco
from holosoma_inference.inputs.api.commands import StateCommand, VelCmd
from holosoma_inference.policies import base
from holosoma_inference.policies.locomotion import LocomotionPolicy

from protege.core.robots.robot import Robot
from protege.deploy.cli.main import main
from protege.deploy.commands.registry import KINDS
from protege.deploy.export.export import export
from protege.deploy.export.holosoma import HOLOSOMA_FILE, write_holosoma
from protege.deploy.geometry import rotated_back, turned
from protege.deploy.interface import Command, RobotReading
from protege.deploy.peers.holosoma import HolosomaPolicy
from protege.deploy.policy.metadata import load
from protege.deploy.policy.onnx_policy import OnnxPolicy
from protege.deploy.robots.mujoco import MujocoRobot

MODELS = Path(holosoma_inference.__path__[0]) / "models"
VELOCITY = np.array([0.8, -0.1, 0.3])  # m/s ahead, m/s to the left, rad/s to the left
SECONDS = 5


class Interface:
    """A robot with holosoma's interface: (1, 7 + J + 6 + J) numbers, and the written targets, which a simulated robot follows."""

    kp_level = kd_level = 1.0

    def __init__(self, robot: MujocoRobot | None = None) -> None:
        self.row, self.written, self.gains, self.robot = np.zeros((1, 0)), list[np.ndarray](), None, robot

    def get_low_state(self) -> np.ndarray:
        return self.row

    def send_low_command(self, q: np.ndarray, *_: Any, **__: Any) -> None:
        self.written.append(np.array(q))
        if self.robot:
            self.robot.write(self.written[-1])

    def update_config(self, config: Any) -> None:
        self.gains = config.motor_kp, config.motor_kd


class Orders:
    """Walks at a velocity, and kills the program when it has no more readings."""

    def __init__(self, interface: Interface, readings: Iterable[RobotReading]) -> None:
        self._interface, self._left = interface, iter(readings)

    def start(self) -> None: ...

    def zero(self) -> None: ...

    def poll_velocity(self) -> VelCmd:
        return VelCmd((VELOCITY[0], VELOCITY[1]), VELOCITY[2])

    def poll_commands(self) -> list[StateCommand]:
        if (reading := next(self._left, None)) is None:
            return [StateCommand.KILL]
        none, gyro = np.zeros(3), rotated_back(reading.root_quat_w, reading.root_ang_vel_w)
        parts = [none, reading.root_quat_w, reading.joint_pos, none, gyro, reading.joint_vel]
        self._interface.row = np.concatenate(parts)[None]
        return []


def readings(joints: int, steps: int) -> list[RobotReading]:
    """A robot that leans and moves at random, within reason."""
    generator, found = np.random.default_rng(3), []
    for _ in range(steps):
        quat = np.array([1.0, *generator.normal(scale=0.15, size=2), 0.0])
        found.append(RobotReading(
            root_pos_w=None, root_quat_w=quat / np.linalg.norm(quat), root_lin_vel_w=None,
            root_ang_vel_w=generator.normal(size=3), joint_pos=generator.normal(scale=0.3, size=joints),
            joint_vel=generator.normal(size=joints),
        ))  # fmt: skip
    return found


def ours(folder: Path, seen: list[RobotReading]) -> np.ndarray:
    """Our runtime's targets for the same."""
    policy = OnnxPolicy(folder)
    name, kind = next((name, kind) for name, kind in KINDS.items() if kind.of_velocity)
    assert kind.of_velocity is not None
    # Without an input for the heading only the direction of travel is commanded.
    inputs = {k: v for k, v in kind.of_velocity(VELOCITY).items() if policy.metadata.input(k)}
    return np.array([policy.act(reading, Command(raw={name: inputs})) for reading in seen])


def measured(robot: MujocoRobot, steps: int, places: list[np.ndarray]) -> Iterator[RobotReading]:
    """What a simulated robot measures before each of some control steps; adds where its root is then."""
    for _ in range(steps):
        places.append(robot.data.qpos[:3].copy())
        yield robot.read()


def theirs(
    path: Path,
    frames: int,
    seen: Iterable[RobotReading],
    monkeypatch: pytest.MonkeyPatch,
    robot: MujocoRobot | None = None,
) -> Interface:
    """What holosoma's own loop tells a robot that it drives by a model."""
    interface = Interface(robot)
    monkeypatch.setattr(base, "create_interface", lambda *_: interface)
    task = replace(g1_29dof_loco.task, model_path=str(path), velocity_input="injected", state_input="injected")
    config = replace(
        g1_29dof_loco,
        task=task,
        observation=replace(g1_29dof_loco.observation, history_length_dict={"actor_obs": frames}),
    )
    orders = Orders(interface, seen)
    monkeypatch.setattr(LocomotionPolicy, "_injected_velocity_input", orders, raising=False)
    monkeypatch.setattr(LocomotionPolicy, "_injected_command_provider", orders, raising=False)
    policy = LocomotionPolicy(config)
    for command in (StateCommand.WALK, StateCommand.START):
        policy._dispatch_command(command)
    with pytest.raises(SystemExit) as ended:
        policy.run()
    assert ended.value.code == 0
    return interface


def test_holosomas_loop_runs_our_policy(onboard_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, folder = onboard_of("g1")
    path, frames = write_holosoma(checkpoint, folder)
    described = load(folder)
    seen = readings(described.num_joints, 12)
    interface = theirs(path, frames, seen, monkeypatch)
    assert len(interface.written) == len(seen)
    np.testing.assert_allclose(interface.written, ours(folder, seen), atol=2e-5)
    assert np.abs(np.diff(interface.written, axis=0)).max() > 0.05  # it is no constant
    assert interface.gains == (tuple(described.stiffness), tuple(described.damping))


def test_the_shipped_student_walks_in_holosomas_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a circle, because the commanded velocity turns with the robot."""
    folder, places = export("zoo:g1_student", tmp_path / "student"), list[np.ndarray]()
    path, frames = write_holosoma("zoo:g1_student", folder)
    robot = MujocoRobot(folder, standing=True)
    a_second = round(1.0 / robot.metadata.control_dt)
    interface = theirs(path, frames, measured(robot, SECONDS * a_second, places), monkeypatch, robot)
    assert len(interface.written) == SECONDS * a_second and not robot.has_fallen
    walked = np.linalg.norm(np.diff(np.array(places)[a_second::a_second, :2], axis=0), axis=1)  # in each second
    assert walked.mean() == pytest.approx(np.linalg.norm(VELOCITY[:2]), rel=0.2)


@pytest.mark.parametrize("name", ["ppo", "fastsac"])
def test_our_loop_runs_holosomas_policies_like_its_own(
    name: str, onboard_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = MODELS / f"loco/g1_29dof/{name}_g1_29dof.onnx"
    policy = HolosomaPolicy(path, load(onboard_of("g1")[1]))
    seen = readings(29, 60)  # more than a stride
    interface = theirs(path, 1, seen, monkeypatch)
    speed, targets = float(np.linalg.norm(VELOCITY[:2])), []
    for reading in seen:
        way, turn = VELOCITY[:2] / speed, VELOCITY[2] / 2.0  # rad in half a second
        targets.append(policy.act(reading, Command(
            steering_direction_w=turned(way, reading.yaw), steering_speed=speed,
            steering_facing_w=turned(np.array([np.cos(turn), np.sin(turn)]), reading.yaw),
        )))  # fmt: skip
    np.testing.assert_allclose(targets, interface.written, atol=2e-5)
    np.testing.assert_allclose(interface.gains, [policy.metadata.stiffness, policy.metadata.damping])


def test_a_policy_of_holosoma_walks_in_our_loop(onboard_of: Any, tmp_path: Path) -> None:
    folder, report = onboard_of("g1")[1], tmp_path / "report.json"
    model = MODELS / "loco/g1_29dof/fastsac_g1_29dof.onnx"
    words = [
        folder,
        "--policy",
        model,
        "--fast",
        "--standing",
        "--task",
        "steering",
        "--speed",
        "0.5",
        "--seconds",
        "8",
    ]
    done = CliRunner().invoke(main, ["run", *map(str, words), "--report", str(report)])
    assert done.exit_code == 0, done.output
    result = json.loads(report.read_text())
    assert result["stood"] and result["walked_m"] > 2.0 and result["loop"]["event"] is None


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("wbt/ppo_g1_29dof_dancing.onnx", "has the inputs obs, time_step"),
        ("loco/t1_29dof/ppo_t1_29dof.onnx", "moves other joints than the export for g1"),
        ("none.onnx", "does not exist"),
        ("../py.typed", "is not a model that ONNX Runtime reads"),
    ],
)
def test_other_policies_are_one_line_errors(file: str, message: str, onboard_of: Any) -> None:
    done = CliRunner().invoke(main, ["run", str(onboard_of("g1")[1]), "--policy", str(MODELS / file), "--fast"])
    assert done.exit_code == 2 and done.output.startswith("error: ") and done.output.count("\n") == 1
    assert message in done.output


def test_a_velocity_survives_the_conversion_to_steering_and_back() -> None:
    """Of the modality that can say one: what of_velocity makes of it, velocity_of reads again; standing is none."""
    reading = readings(1, 1)[0]
    for kind in KINDS.values():
        if kind.of_velocity is None or kind.velocity_of is None:
            continue
        for velocity in ([0.8, -0.1, 0.3], [-0.5, 0.2, -0.4], [0.0, 0.6, 0.0], [0.01, 0.0, 0.5]):
            inputs = kind.of_velocity(np.array(velocity))
            world = {
                name.replace("_h", "_w"): turned(x, reading.yaw) for name, x in inputs.items() if name.endswith("_h")
            }
            plain = {name: x for name, x in inputs.items() if not name.endswith("_h")}
            back = kind.velocity_of(Command(**world, **plain), reading)
            moves = np.hypot(*velocity[:2]) > 0.05
            turn = velocity[2] * 0.5
            heading = np.array([np.cos(turn), np.sin(turn)])
            assert back is not None and back[2] == pytest.approx(velocity[2], abs=1e-6)
            # While turning, the robot goes in its future heading.
            expected = turned(np.array(velocity[:2]), turn) if moves else np.zeros(2)
            np.testing.assert_allclose(back[:2], expected, atol=1e-6)
            np.testing.assert_allclose(inputs["steering_facing_h"], heading, atol=1e-9)


def test_the_wrapped_graph_acts_like_the_policy_for_any_robot(each_onboard: tuple[Path, Path], robot: Robot) -> None:
    """Its observations, put together by hand: terms by name, each oldest first, zeros before the first step."""
    checkpoint, folder = each_onboard
    path, frames = write_holosoma(checkpoint, folder)
    described, steps = load(folder), 6
    assert described.imu is None or described.imu.body == described.body_names[0], "the readings are those of the root"
    session, seen = onnxruntime.InferenceSession(str(path)), readings(robot.num_joints, steps)
    expected, action = ours(folder, seen), np.zeros(robot.num_joints)
    rows = list[dict[str, np.ndarray]]()
    for reading, target in zip(seen, expected, strict=True):
        quat = reading.root_quat_w
        rows.append({
            "actions": action, "base_ang_vel": 0.25 * rotated_back(quat, reading.root_ang_vel_w), "command_ang_vel": VELOCITY[2:],
            "command_lin_vel": VELOCITY[:2], "cos_phase": np.zeros(2), "dof_pos": reading.joint_pos - described.default_joint_pos,
            "dof_vel": 0.05 * reading.joint_vel, "projected_gravity": rotated_back(quat, np.array([0.0, 0.0, -1.0])),
            "sin_phase": np.zeros(2),
        })  # fmt: skip
        blank = {name: np.zeros_like(value) for name, value in rows[0].items()}
        window = [blank] * (frames - len(rows)) + rows[-frames:]
        given = np.concatenate([np.concatenate([row[name] for row in window]) for name in sorted(blank)])
        (action,) = session.run(None, {"actor_obs": given.astype(np.float32)[None]})[0]
        np.testing.assert_allclose(0.25 * action + described.default_joint_pos, target, atol=2e-5)


def test_the_models_properties_are_json(onboard_of: Any) -> None:
    checkpoint, folder = onboard_of("g1")
    write_holosoma(checkpoint, folder)
    model_properties = {
        entry.key: json.loads(entry.value) for entry in onnx.load(folder / HOLOSOMA_FILE).metadata_props
    }
    described = load(folder)
    assert (
        model_properties["kp"] == described.stiffness
        and model_properties["kd"] == described.damping
        and model_properties["dof_names"] == described.joint_names
    )
    assert list(g1_29dof_loco.robot.dof_names) == described.joint_names
    assert list(g1_29dof_loco.robot.default_dof_angles) == described.default_joint_pos  # which it adds itself


def test_the_command_line_writes_the_model_or_reports_why_not(onboard_of: Any, student: Path, tmp_path: Path) -> None:
    checkpoint, _ = onboard_of("g1")
    words = ["--output", str(tmp_path / "out"), "--properties", "holosoma"]
    done = CliRunner().invoke(main, ["export", "--checkpoint", str(checkpoint), *words])
    assert done.exit_code == 0 and "history_length_dict {actor_obs: 4}" in done.output, done.output
    assert (tmp_path / "out" / HOLOSOMA_FILE).is_file()
    refused = CliRunner().invoke(main, ["export", "--checkpoint", str(student), *words])
    assert refused.exit_code == 2 and refused.output.splitlines()[-1].startswith(
        "error: holosoma-inference knows neither"
    )
