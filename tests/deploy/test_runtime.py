"""The robot's side on real ONNX Runtime and real MuJoCo."""

import subprocess
import sys
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from protege.core.kinematics import Kinematics
from protege.deploy.check import compare
from protege.deploy.closed_loop import run_closed_loop
from protege.deploy.commands import PathCommand
from protege.deploy.errors import DeployError
from protege.deploy.export import load_graph
from protege.deploy.interface import Command, RobotReading
from protege.deploy.loop import ControlLoop
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.sim.mjcf import build_spec
from protege.sim.robots import get_robot

PATH = np.linspace([0.5, 0.0], [5.0, 0.0], 10)


class FakeRobot:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.written: list[np.ndarray] = []

    def read(self) -> RobotReading:
        return RobotReading(*(np.zeros(n) for n in (3, 4, 3, 3)), joint_pos=np.full(2, 0.5), joint_vel=np.zeros(2))

    def write(self, joint_target: np.ndarray) -> None:
        self.written.append(np.array(joint_target))

    def close(self) -> None: ...


class FakePolicy:
    """Counts its steps; sleeps in some, says NaN in others."""

    def __init__(self, slow: tuple[int, ...] = (), nan: tuple[int, ...] = (), seconds: float = 0.03) -> None:
        self.slow, self.nan, self.seconds, self.calls = slow, nan, seconds, 0

    def reset(self) -> None:
        self.calls = 0

    def act(self, reading: RobotReading, command: Command) -> np.ndarray:
        step, self.calls = self.calls, self.calls + 1
        if step in self.slow:
            time.sleep(self.seconds)
        return np.full(2, np.nan if step in self.nan else float(step))


def loop(policy: FakePolicy, robot: FakeRobot, **options) -> ControlLoop:
    return ControlLoop(policy, robot, lambda time, reading: Command(), control_dt=0.02, **options)


def test_the_policy_keeps_its_history_as_the_graph_does(student: Path, exported: Path) -> None:
    _, graph, _ = load_graph(student)
    policy, robot = OnnxPolicy(exported), MujocoRobot(exported)
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
    assert compare(exported, graph, states).joint_target < 1e-5


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
    assert [step["command_mask"][0].astype(int).tolist() for step in seen] == [
        [0, 0, 0],
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
def test_a_wrong_command_is_named(exported: Path, command: Command, message: str) -> None:
    with pytest.raises(DeployError, match=message):
        OnnxPolicy(exported).act(MujocoRobot(exported).read(), command)


def test_an_unknown_provider_is_named(exported: Path) -> None:
    with pytest.raises(DeployError, match="unknown provider 'abacus'"):
        OnnxPolicy(exported, provider="abacus")
    with pytest.raises(DeployError, match=r"no tensorrt.*\[gpu\]"):
        OnnxPolicy(exported, provider="tensorrt")


def test_the_exported_robot_is_the_simulators(exported: Path) -> None:
    """Same state, same targets: the same second of physics as the training's model, to the MJCF's six digits."""
    robot, reference = MujocoRobot(exported), build_spec(get_robot("smpl")).compile()
    data = mujoco.MjData(reference)
    data.qpos[:], data.qvel[:] = robot.data.qpos, robot.data.qvel
    target = data.qpos[7:].copy()
    for _ in range(15):
        robot.write(target)
        data.ctrl[:] = target
        mujoco.mj_step(reference, data, 4)
    np.testing.assert_allclose(robot.data.qpos, data.qpos, atol=1e-3)
    assert robot.model.opt.timestep == 1.0 / 120.0


def test_reading_is_in_the_world_frame(exported: Path) -> None:
    robot = MujocoRobot(exported)
    robot.data.qpos[3:7] = [np.cos(0.4), 0.0, np.sin(0.4), 0.0]  # leaning forward
    robot.data.qvel[3:6] = [0.0, 0.0, 2.0]  # about its own z axis
    reading = robot.read()
    np.testing.assert_allclose(reading.root_ang_vel_w, [2.0 * np.sin(0.8), 0.0, 2.0 * np.cos(0.8)], atol=1e-12)
    mujoco.mj_forward(robot.model, robot.data)
    root, joints = (torch.from_numpy(x).float()[None] for x in (reading.root_pos_w, reading.joint_pos))
    quat = torch.from_numpy(reading.root_quat_w).float()[None]
    expected, _ = Kinematics(get_robot("smpl"))(root, quat, joints)
    np.testing.assert_allclose(robot.data.xpos[1:], expected[0].numpy(), atol=1e-5)


def test_standing_starts_on_the_ground(exported: Path) -> None:
    robot = MujocoRobot(exported, standing=True)
    np.testing.assert_array_equal(robot.read().joint_pos, robot.metadata.default_joint_pos)
    mujoco.mj_forward(robot.model, robot.data)
    assert robot.data.ncon == 0 and not robot.has_fallen
    robot.data.qpos[2] -= 2e-3
    mujoco.mj_forward(robot.model, robot.data)
    assert robot.data.ncon > 0
    robot.data.qpos[2] = 0.2
    assert robot.has_fallen


def test_one_second_in_real_time(exported: Path) -> None:
    policy, robot = OnnxPolicy(exported), MujocoRobot(exported)
    command = PathCommand.steady(robot.read(), 1.0, 0.0, 1.0, policy.metadata.path_times)
    started = time.perf_counter()
    result = run_closed_loop(policy, robot, command, 1.0, realtime=True)
    assert 29 / 30 - 0.01 <= time.perf_counter() - started < 1.5
    assert result["loop"]["steps"] == 30 and result["loop"]["watchdog"] == ""
    for kind in ("policy_ms", "cycle_ms"):
        times = result["loop"][kind]
        assert list(times) == ["p50", "p95", "p99", "max"] and 0.0 < times["p50"] <= times["p99"] <= times["max"]
    assert result["loop"]["policy_ms"]["p50"] < result["loop"]["cycle_ms"]["p50"]
    assert robot.data.time == pytest.approx(1.0)


def test_slow_cycles_are_counted_and_the_clock_goes_on() -> None:
    policy, robot = FakePolicy(slow=(2, 5)), FakeRobot()
    report = loop(policy, robot).run(10)
    assert report.missed_deadlines == 2 and report.watchdog == "" and report.held_steps == 0
    # Each slow cycle takes two periods: 9 starts after the first, and two skipped ticks.
    assert report.seconds == pytest.approx(0.02 * 11, abs=0.015)
    assert report.policy_ms["max"] >= 30.0 > report.policy_ms["p50"]
    assert [int(target[0]) for target in robot.written] == list(range(10))


def test_without_real_time_nothing_waits() -> None:
    report = loop(FakePolicy(slow=(1,)), FakeRobot(), realtime=False).run(50)
    assert report.seconds < 0.1 and report.missed_deadlines == 1


def test_the_watchdog_holds_after_nan() -> None:
    policy, robot = FakePolicy(nan=(3,)), FakeRobot()
    report = loop(policy, robot, realtime=False).run(6)
    assert "step 3" in report.watchdog and "not finite" in report.watchdog and report.held_steps == 3
    assert [float(target[0]) for target in robot.written] == [0.0, 1.0, 2.0, 2.0, 2.0, 2.0]
    assert policy.calls == 4


def test_the_watchdog_holds_where_the_robot_is_if_nothing_was_ever_good() -> None:
    robot = FakeRobot()
    loop(FakePolicy(nan=(0,)), robot, realtime=False).run(2)
    assert [target.tolist() for target in robot.written] == [[0.5, 0.5]] * 2


def test_the_watchdog_holds_after_many_missed_deadlines() -> None:
    robot = FakeRobot()
    report = loop(FakePolicy(slow=(1, 3, 4, 5, 6), seconds=0.025), robot, max_missed=3).run(10)
    assert "step 5: 3 deadlines missed in a row" in report.watchdog
    assert report.missed_deadlines == 4 and report.held_steps == 4
    assert [int(target[0]) for target in robot.written] == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5]


def test_the_runtime_imports_neither_torch_nor_core(exported: Path) -> None:
    program = """
import sys
from protege.deploy.runtime import OnnxPolicy
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.closed_loop import run_closed_loop
from protege.deploy.commands import SteeringCommand
import protege.deploy.cli
policy, robot = OnnxPolicy(sys.argv[1]), MujocoRobot(sys.argv[1])
run_closed_loop(policy, robot, SteeringCommand.towards(robot.read(), 0.0, 1.0), 0.2, realtime=False)
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "onnx", "onnxscript"}))
print([name for name in sys.modules if name.startswith("protege.") and not name.startswith("protege.deploy")])
"""
    done = subprocess.run([sys.executable, "-c", program, str(exported)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "[]"]
