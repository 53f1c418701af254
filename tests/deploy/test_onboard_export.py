"""A student with onboard sensors: its graph is the policy on what it feels in the environment, and its inputs say no place."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import torch
from evaluate_export import raw_inputs
from students import MIX, STUDENT_TOKENS, actor_critic, enliven, env_config, make_env, save

from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.deploy.errors import DeployError
from protege.deploy.export.check import check, random_inputs
from protege.deploy.export.export import Variant, export, load_graph
from protege.deploy.export.graph import StudentGraph
from protege.deploy.policy import metadata
from protege.deploy.policy.metadata import Imu
from protege.deploy.policy.policy_schema import SCHEMA_FILE

INPUTS = {
    "imu_quat", "imu_ang_vel", "joint_pos", "joint_vel", "path_h", "goal_h", "goal_time_left", "steering_direction_h",
    "steering_speed", "command_mask", "target_body_pos_h", "target_body_quat_h", "pose_mask", "last_action", "history", "reset",
}  # fmt: skip


def graph_of(policy, env) -> StudentGraph:
    return StudentGraph(policy, {k: list(v) for k, v in env.obs_shapes.items()}, env.robot).eval()


@pytest.mark.parametrize("tokens", [STUDENT_TOKENS, ["proprioception", "poses"], ["proprioception", "steering"]])
def test_graph_acts_like_the_policy_in_the_environment(tokens: list[str], robot: Robot) -> None:
    mix = {"track": 1.0} if "poses" in tokens else MIX
    env = make_env(env_config(3, mix, robot), robot, "onboard")
    policy = enliven(actor_critic(env.obs_shapes, tokens, robot, sensors="onboard")[0], env)
    graph = graph_of(policy, env)
    obs, begins = env.reset(), torch.ones(8, dtype=torch.bool)
    memory = {"history": torch.full((8, *env.obs_shapes["onboard_history"]), 9.0),
              "last_action": torch.full((8, robot.num_joints), 9.0)}  # fmt: skip
    restarts = 0
    for _ in range(10):
        raw = raw_inputs(env, obs) | memory | {"reset": begins}
        outputs = dict(zip((x.name for x in graph.outputs), graph(*(raw[x.name] for x in graph.specs)), strict=True))
        mean, _ = policy.distribution(obs)
        target = robot.default_pose() + robot.action_scale() * mean
        torch.testing.assert_close(outputs["joint_target"], target, atol=2e-5, rtol=0.0)
        done = env.step(mean)
        obs, begins = done.obs, done.failed | done.timed_out
        restarts, alive = restarts + int(begins.sum()), ~begins
        memory = {name: outputs[f"next_{name}"] for name in memory if f"next_{name}" in outputs}
        last = memory["last_action"][alive]
        torch.testing.assert_close(last, obs["onboard"][alive][:, -robot.num_joints :], atol=2e-5, rtol=0.0)
        if "history" in memory:
            torch.testing.assert_close(memory["history"][alive], obs["onboard_history"][alive], atol=2e-5, rtol=0.0)
    assert mean.abs().max() > 0.1 and restarts > 0


def test_its_inputs_contain_no_position(each_onboard: tuple[Path, Path], robot: Robot) -> None:
    folder = each_onboard[1]
    described = metadata.load(folder)
    assert {spec.name for spec in described.inputs} == INPUTS
    assert {node.name for node in onnx.load(folder / "policy.onnx").graph.input} == INPUTS
    assert [spec.name for spec in described.outputs] == ["joint_target", "next_last_action", "next_history"]
    frames = {spec.name: spec.frame for spec in described.inputs}
    assert {name for name, frame in frames.items() if frame == "world"} == {"imu_quat"}
    assert all(frames[name] == "heading" for name in INPUTS if name.endswith("_h"))
    assert frames["imu_ang_vel"] == frames["history"] == described.outputs[2].frame == "imu"
    assert [x.inputs for x in described.modalities] == [
        ["path_h"], ["goal_h", "goal_time_left"], ["steering_direction_h", "steering_speed"]
    ]  # fmt: skip
    assert (described.sensors, described.schema_version) == ("onboard", 3)
    assert described.imu == Imu(robot.body_names[0], [1.0, 0.0, 0.0, 0.0])
    assert len(described.path_times) == 10 and described.future_frames == [1, 2, 4, 8]


def test_onnx_equals_torch(each_onboard: tuple[Path, Path]) -> None:
    checkpoint, folder = each_onboard
    result = check(folder, checkpoint, 500)
    assert 0.0 < result.joint_target < 1e-5 and result.next_history is not None and result.next_history < 1e-5


def test_it_is_described_by_the_schema(each_onboard: tuple[Path, Path], each_exported: Path) -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    for folder, version in ((each_onboard[1], 3), (each_exported, 2)):
        data = json.loads((folder / "policy.json").read_text())
        jsonschema.validate(data, schema)
        assert data["schema_version"] == version


def test_a_different_heading_of_the_imu_changes_nothing(each_onboard: tuple[Path, Path], robot: Robot) -> None:
    """The IMU's heading is not read: commands are given in the heading frame."""
    graph = load_graph(each_onboard[0])[1]
    given = random_inputs(graph, robot, 16, torch.Generator().manual_seed(0))
    turn = R.from_yaw(torch.linspace(-3.0, 3.0, 16))
    turned = {**given, "imu_quat": R.multiply(turn, given["imu_quat"])}
    tilted = {
        **given,
        "imu_quat": R.multiply(R.from_rotation_vector(torch.tensor([[0.2, 0.0, 0.0]])), given["imu_quat"]),
    }

    def targets(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return graph(*(inputs[spec.name] for spec in graph.specs))[0]

    torch.testing.assert_close(targets(turned), targets(given), atol=2e-5, rtol=0.0)
    assert (targets(tilted) - targets(given)).abs().max() > 1e-3


def test_in_fp16_its_targets_are_nearly_the_same(each_onboard: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, folder = each_onboard
    states = tmp_path / "states.npz"
    _, graph, robot = load_graph(checkpoint)
    given = random_inputs(graph, robot, 64, torch.Generator().manual_seed(0))
    np.savez(states, **{name: x.numpy() for name, x in given.items()})
    small = export(checkpoint, tmp_path / "fp16", Variant(precision="fp16", states=states))
    described = metadata.load(small)
    assert described.accuracy is not None and 0.0 < described.accuracy.max < 0.05
    assert {x.name: x.dtype for x in described.inputs} == {x.name: x.dtype for x in metadata.load(folder).inputs}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sensors": "full_state"}, "sensors are full_state, which is not schema version 3"),
        ({"schema_version": 2}, "sensors are onboard, which is not schema version 2"),
        ({"imu": None}, "sensors are onboard, and imu is null"),
        ({"imu": {"body": "tail", "quat": [1, 0, 0, 0]}}, "imu.body is 'tail', which is none of body_names"),
        ({"imu": {"body": "", "quat": [1, 0, 0, 0]}}, "imu.body"),
        ({"schema_version": 4}, "has schema version 4, this is 3"),
    ],
)
def test_contradictory_metadata_is_refused(change: dict, problem: str, onboard_of, tmp_path: Path) -> None:
    folder = onboard_of("smpl")[1]
    data = json.loads((folder / "policy.json").read_text()) | change
    (tmp_path / "policy.onnx").write_bytes((folder / "policy.onnx").read_bytes())
    (tmp_path / "policy.json").write_text(json.dumps(data))
    with pytest.raises(DeployError) as caught:
        metadata.load(tmp_path)
    assert problem in caught.value.message and "\n" not in caught.value.message


def test_a_checkpoint_contains_the_sensors(robot: Robot, tmp_path: Path) -> None:
    env = make_env(env_config(robot=robot), robot, "onboard")
    policy, parts = actor_critic(env.obs_shapes, STUDENT_TOKENS, robot, sensors="onboard")
    loaded = load_graph(save(tmp_path / "last.ckpt", "student", enliven(policy, env), env, parts))[0]
    assert loaded.policy.sensors == "onboard" and loaded.config["model"]["sensors"] == "onboard"
