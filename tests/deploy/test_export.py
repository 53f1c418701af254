"""The graph is the policy on the environment's observations; the ONNX file is the graph."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from evaluate_export import raw_inputs
from students import ROBOT, STUDENT_TOKENS, actor_critic, enliven, env_config, make_env, masked_mimic, save

from protege.core.robots.plain import to_plain
from protege.core.robots.robot import Robot, Safety
from protege.core.runs import checkpoint
from protege.deploy.errors import DeployError
from protege.deploy.export.check import check, compare, random_inputs
from protege.deploy.export.export import export, load_graph, trace
from protege.deploy.export.graph import StudentGraph
from protege.deploy.export.modalities import trained_ranges
from protege.deploy.policy import metadata
from protege.deploy.policy.metadata import Camera, CommandRange, Fall

POSES = {"target_body_pos_w", "target_body_quat_w"}
BODY = {"root_pos_w", "root_quat_w", "root_lin_vel_w", "root_ang_vel_w", "joint_pos", "joint_vel"}


def make(kind: str, steering: int = 3, robot: Robot = ROBOT):
    """An environment and an enlivened policy of a kind."""
    mix = {"track": 1.0, "masked_mimic": 1.0} if kind == "tracker" else None
    env = make_env(env_config(steering, mix, robot), robot)
    if kind == "masked_mimic":
        policy, parts = masked_mimic(env.obs_shapes, robot)
    else:
        tokens = ["proprioception", "poses"] if kind == "tracker" else STUDENT_TOKENS
        policy, parts = actor_critic(env.obs_shapes, tokens, robot)
    return env, enliven(policy, env), parts


@pytest.mark.parametrize(("kind", "steering"), [("student", 3), ("student", 5), ("tracker", 3), ("masked_mimic", 3)])
def test_graph_acts_like_the_policy_in_the_environment(kind: str, steering: int, robot: Robot) -> None:
    env, policy, _ = make(kind, steering, robot)
    graph = StudentGraph(policy, {k: list(v) for k, v in env.obs_shapes.items()}, robot).eval()
    obs = env.reset()
    begins = torch.ones(8, dtype=torch.bool)
    history = torch.full((8, *env.obs_shapes["history"]), 9.0)  # must not be looked at where an episode begins
    restarts = 0
    for _ in range(10):
        raw = raw_inputs(env, obs) | {"history": history, "reset": begins}
        outputs = graph(*(raw[spec.name] for spec in graph.specs))
        mean, _ = policy.distribution(obs)
        torch.testing.assert_close(outputs[0], robot.default_pose() + robot.action_scale() * mean, atol=1e-5, rtol=0.0)
        done = env.step(mean + 0.05 * torch.randn_like(mean))
        obs, begins = done.obs, done.failed | done.timed_out
        restarts += int(begins.sum())
        if len(outputs) > 1:
            history = outputs[1]
            alive = ~begins
            torch.testing.assert_close(history[alive], obs["history"][alive], atol=2e-5, rtol=0.0)
    assert mean.abs().max() > 0.1 and restarts > 0


@pytest.mark.parametrize("name", ["zoo:student", "zoo:g1_student"])
def test_the_graph_stays_small(name: str) -> None:
    """It spends as much time on starting operations as on its weights. Fewer than this, and the bound may come down."""
    operators = [node.op_type for node in trace(load_graph(name)[1]).graph.node]
    assert len(operators) <= 400
    assert not {"If", "Loop", "ScatterND", "Constant"} & set(operators)


def test_uncommanded_inputs_do_not_matter() -> None:
    env, policy, _ = make("student")
    graph = StudentGraph(policy, {k: list(v) for k, v in env.obs_shapes.items()}, ROBOT).eval()
    given = random_inputs(graph, ROBOT, 16, torch.Generator().manual_seed(0))
    given["command_mask"][:] = torch.tensor([True, False, False])
    given["pose_mask"][:] = False
    other = {**given, "goal_w": given["goal_w"] + 7.0, "steering_speed": given["steering_speed"] + 1.0}
    other["target_body_pos_w"] = given["target_body_pos_w"] * 2.0
    moved = {**given, "path_w": given["path_w"] + 1.0}

    def targets(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return graph(*(inputs[spec.name] for spec in graph.specs))[0]

    assert torch.equal(targets(given), targets(other))
    assert (targets(given) - targets(moved)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("tracker", BODY | POSES | {"reference_joint_pos", "reference_joint_vel"}),
        ("masked_mimic", BODY | POSES | {"pose_mask", "history", "reset"}),
    ],
)
def test_other_kinds_export_with_the_inputs_they_read(
    kind: str, inputs: set[str], robot: Robot, tmp_path: Path
) -> None:
    env, policy, parts = make(kind, robot=robot)
    path = save(tmp_path / "run" / "last.ckpt", kind, policy, env, parts)
    folder = export(path, tmp_path / "out")
    assert {spec.name for spec in metadata.load(folder).inputs} == inputs
    assert {node.name for node in onnx.load(folder / "policy.onnx").graph.input} == inputs
    assert check(folder, path, 50).joint_target < 1e-5


def test_onnx_equals_torch_on_a_thousand_states(each_student: Path, each_exported: Path) -> None:
    result = check(each_exported, each_student, 1000)
    assert result.num_states == 1000 and 0.0 < result.joint_target < 1e-5


def test_the_critic_is_not_exported(student: Path, exported: Path) -> None:
    loaded, *_ = load_graph(student)
    weights = sum(int(np.prod(t.dims)) for t in onnx.load(exported / "policy.onnx").graph.initializer)
    actor = loaded.policy.num_parameters("actor")
    assert actor < weights < actor + 5000  # and the robot's constants and normalisers


def test_the_export_describes_the_robot(each_exported: Path, robot: Robot) -> None:
    described = metadata.load(each_exported)
    assert (described.robot, described.body_names) == (robot.name, list(robot.body_names))
    assert described.joint_names == list(robot.joint_names)
    assert described.stiffness == [joint.stiffness for joint in robot.joints]
    assert described.default_joint_pos == list(robot.default_joint_pos)
    assert described.control_dt == robot.control_dt and described.substeps == 4
    assert described.safety == asdict(robot.safety)
    assert described.fall == Fall(robot.fallen_root, robot.fallen_head, robot.head)
    assert described.camera == Camera(robot.camera.distance, robot.camera.height)
    assert described.path_times == [0.5 * (k + 1) for k in range(10)]
    assert described.future_frames == [1, 2, 4, 8]
    assert (described.source.kind, described.source.iteration, described.source.samples) == ("student", 7, 1234)
    assert described.start is not None and 0.9 < described.start.root_pos_w[2] / robot.root_height < 1.1
    assert described.start.root_lin_vel_w[0] > 0.5


def test_the_export_contains_the_trainings_command_ranges(each_exported: Path, robot: Robot) -> None:
    fastest = {"smpl": 1.5, "g1": 1.3}[robot.name]
    assert metadata.load(each_exported).command_ranges == {
        "path_speed": CommandRange(0.5, fastest, "m/s"),
        "path_turn_rate": CommandRange(-0.8, 0.8, "rad/s"),
        "goal_distance": CommandRange(1.0, 4.0, "m"),
        "goal_approach_speed": CommandRange(0.8, 0.8, "m/s"),
        "steering_speed": CommandRange(0.0, fastest, "m/s"),
    }
    walk = CommandRange(0.5, 1.5, "m/s")
    assert [walk.clamp(x) for x in (0.0, 0.5, 1.2, 9.0)] == [0.5, 0.5, 1.2, 1.5]


def test_ranges_come_from_the_config_for_the_commands_of_the_model() -> None:
    env = {"path_follower_params": {"speed": [1, 2], "max_turn_rate": 0.1}, "steering_params": {"speed": [0.5, 0.75]}}
    assert trained_ranges(env, {"steering"}) == {"steering_speed": CommandRange(0.5, 0.75, "m/s")}
    assert trained_ranges(env, {"path", "goal"}) == {
        "path_speed": CommandRange(1.0, 2.0, "m/s"), "path_turn_rate": CommandRange(-0.1, 0.1, "rad/s")
    }  # fmt: skip
    assert trained_ranges(env, set()) == trained_ranges({}, {"path", "goal"}) == {}


def test_safety_limits_missing_in_a_checkpoint_come_from_the_installed_robot(
    each_student: Path, robot: Robot, tmp_path: Path
) -> None:
    own, careful = to_plain(robot), Safety(torque=1.0)
    old = {name: x for name, x in own.items() if name != "safety"}
    for description, expected in (
        (to_plain(replace(robot, safety=careful)), careful),
        (old, robot.safety),
        (old | {"name": "gone"}, Safety()),
    ):
        saved = replace(checkpoint.load(each_student), description=description, robot=description["name"])
        checkpoint.save(tmp_path / "last.ckpt", saved)
        assert load_graph(tmp_path / "last.ckpt")[2].safety == expected


def test_check_refuses_another_checkpoint_and_a_wrong_model(student: Path, exported: Path, tmp_path: Path) -> None:
    _, graph, robot = load_graph(student)
    saved = checkpoint.load(student)
    name = next(name for name in saved.model if name.startswith("actor") and name.endswith("bias"))
    saved.model[name] += 0.01
    checkpoint.save(tmp_path / "other.ckpt", saved)
    with pytest.raises(DeployError, match="another checkpoint"):
        check(exported, tmp_path / "other.ckpt", 10)

    wrong = tmp_path / "wrong"
    shutil.copytree(export(tmp_path / "other.ckpt", tmp_path / "out"), wrong)
    data = json.loads((wrong / "policy.json").read_text())
    data["source"]["weights_sha256"] = metadata.load(exported).source.weights_sha256
    (wrong / "policy.json").write_text(json.dumps(data))
    assert compare(wrong, graph, random_inputs(graph, robot, 10, torch.Generator())).joint_target > 1e-5
    with pytest.raises(DeployError, match="differ by"):
        check(wrong, student, 10)


def test_a_release_without_its_critic_matches_its_export(each_student: Path, tmp_path: Path) -> None:
    checkpoint.save_release(tmp_path / "release", checkpoint.load(each_student), critic=False)
    export(tmp_path / "release", tmp_path / "out")
    assert check(tmp_path / "out", tmp_path / "release", 10).joint_target < 1e-5


def test_export_replaces_only_exports(student: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(DeployError, match="is not an export"):
        export(student, mine)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"] and (mine / "thesis.txt").read_text() == "precious"
    export(student, tmp_path / "out")
    export(student, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["policy.json", "policy.onnx", "robot.xml"]


def test_export_errors_name_the_problem(student: Path, tmp_path: Path) -> None:
    with pytest.raises(DeployError, match="no checkpoint at"):
        export(tmp_path / "nowhere", tmp_path / "out")
    saved = checkpoint.load(student)
    saved.joint_names = saved.joint_names[::-1]
    checkpoint.save(tmp_path / "reversed.ckpt", saved)
    with pytest.raises(DeployError, match="other joints"):
        export(tmp_path / "reversed.ckpt", tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(DeployError, match="cannot write"):
        export(student, tmp_path / "file" / "out")
    assert not (tmp_path / "out").exists()
