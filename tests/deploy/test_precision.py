"""fp16, int8 and fixed batches: what is converted, what it costs, and that the cost is known."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from evaluate_export import closed_loop
from evaluate_export import main as evaluate
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from protege.core.runs.evaluation import evaluation_env, run_episodes, summarize
from protege.core.runs.load_policy import load_policy
from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.export import export as export_module
from protege.deploy.export import states
from protege.deploy.export.check import check
from protege.deploy.export.export import Variant, export
from protege.deploy.export.precision import network_nodes
from protege.deploy.export.states import compare, run_batches
from protege.deploy.policy import metadata
from protege.deploy.policy.session import open_session
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import Command, OnnxPolicy
from protege.distill.tasks import EVALUATED


@pytest.fixture(scope="module")
def recorded(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of states of closed loops."""
    path = tmp_path_factory.mktemp("states") / "states.npz"
    np.savez(path, **states.record(exported, 300))  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture(scope="module", params=["fp16", "int8"])
def variant(
    request: pytest.FixtureRequest, student: Path, recorded: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("variants") / request.param
    return export(student, folder, Variant(request.param, states=recorded))


def targets(folder: Path, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    described = metadata.load(folder)
    return run_batches(open_session(folder, described), inputs, described.batch)[0]


def test_only_the_network_is_converted(exported: Path, variant: Path) -> None:
    model, described = onnx.load(variant / "policy.onnx"), metadata.load(variant)
    network, products = network_nodes(onnx.load(exported / "policy.onnx"))
    assert all("/actor/" in name for name in network) and len(products) == 23
    io = [*model.graph.input, *model.graph.output]
    assert {x.type.tensor_type.elem_type for x in io} == {TensorProto.FLOAT, TensorProto.BOOL}
    small = TensorProto.FLOAT16 if described.precision == "fp16" else TensorProto.INT8
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    # int8 leaves the six products that read observations alone, and the last two.
    assert list(types.values()).count(small) >= len(products) - (0 if described.precision == "fp16" else 8)
    outside = {node.name: node for node in onnx.load(exported / "policy.onnx").graph.node if node.name not in network}
    remaining = {node.name: node for node in model.graph.node if node.name in outside}
    assert len(remaining) > 200 and sum("/kinematics/" in name for name in remaining) > 25
    changed = [name for name, node in remaining.items() if list(node.input) != list(outside[name].input)]
    # What asks for shapes, or adds the default pose, reads a converted tensor; nothing before the network does.
    assert all("Shape" in name or name == "/Mul_43" for name in changed), changed
    if described.precision == "fp16":  # int8's scales weigh more than this network's weights
        assert (variant / "policy.onnx").stat().st_size < 0.8 * (exported / "policy.onnx").stat().st_size


def test_the_accuracy_is_in_the_metadata(exported: Path, variant: Path, recorded: Path) -> None:
    described = metadata.load(variant)
    inputs = states.load(recorded, described.inputs)
    again = compare(targets(variant, inputs), targets(exported, inputs))
    assert described.accuracy == again and again.states == 300
    assert 1e-6 < again.mean < again.p99 < again.max < (0.02 if described.precision == "fp16" else 0.2)
    output = CliRunner().invoke(main, ["info", str(variant)]).output
    assert f"{described.precision}: off fp32 by {again.mean:.1e} rad, p99 {again.p99:.1e}" in output


def test_a_converted_model_runs_and_passes_its_check(student: Path, variant: Path) -> None:
    policy, robot = OnnxPolicy(variant), MujocoRobot(variant)
    target = policy.act(robot.read(), Command(steering_direction_w=np.array([1.0, 0.0]), steering_speed=1.0))
    assert target.shape == (69,) and target.dtype == np.float32 and np.isfinite(target).all()
    result = check(variant, student, 50)  # on recorded states, by itself
    assert result.num_states == 50 and 1e-6 < result.joint_target < 0.2


def test_fp32_has_no_accuracy_entry(exported: Path) -> None:
    described = metadata.load(exported)
    assert (described.precision, described.batch, described.accuracy, described.closed_loop) == ("fp32", None, None, [])


def test_a_too_large_difference_is_refused(
    student: Path, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(export_module.MAX_DIFFERENCE, "fp16", 1e-9)
    words = ["export", "--checkpoint", student, "--output", tmp_path / "out", "--precision", "fp16"]
    words += ["--states", recorded]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert "error: in fp16 joint targets are off by up to" in done.output
    assert "rad, more than 1e-09. Export with --precision fp32" in done.output
    assert not (tmp_path / "out").exists()


def test_a_fixed_batch(student: Path, exported: Path, recorded: Path, tmp_path: Path) -> None:
    one, four = (export(student, tmp_path / str(n), Variant(batch=n)) for n in (1, 4))
    inputs = states.load(recorded, metadata.load(exported).inputs, 10)
    for folder, batch in ((one, 1), (four, 4)):
        described, model = metadata.load(folder), onnx.load(folder / "policy.onnx")
        assert described.batch == batch
        shapes = [x.type.tensor_type.shape.dim for x in (*model.graph.input, *model.graph.output)]
        assert {dims[0].dim_value for dims in shapes} == {batch}
        np.testing.assert_allclose(targets(folder, inputs), targets(exported, inputs), atol=1e-5)
        assert check(folder, student, 10).joint_target < 1e-5
    OnnxPolicy(one)
    done = CliRunner().invoke(main, ["run", str(four), "--fast", "--seconds", "0.1"])
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert f"{four / 'policy.onnx'} takes 4 robots a call, not 1. Export it with --batch 1" in done.output


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(DeployError, match=r"unknown precision 'fp8'\. Choose among fp32, fp16, int8"):
        Variant("fp8")
    with pytest.raises(DeployError, match="unknown style 'xml'"):
        Variant(style="xml")


class Doubler:
    """A session whose model doubles."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def run(self, names: None, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(len(feeds["x"]))
        return [2.0 * feeds["x"], -feeds["x"]]


@given(count=st.integers(1, 700), batch=st.none() | st.integers(1, 300))
def test_batches_return_in_order(count: int, batch: int | None) -> None:
    session, x = Doubler(), np.arange(float(count))
    doubled, negative = run_batches(session, {"x": x}, batch)
    np.testing.assert_array_equal(doubled, 2.0 * x)
    np.testing.assert_array_equal(negative, -x)
    assert set(session.sizes) == {batch} if batch else max(session.sizes) <= 256


def test_accuracy_by_hand() -> None:
    found = compare(np.array([[1.0, 2.0], [3.0, 4.5]]), np.array([[1.0, 2.1], [3.0, 4.0]]))
    assert (found.states, found.mean, found.max) == (2, pytest.approx(0.15), pytest.approx(0.5))
    assert compare(np.array([[np.nan]]), np.array([[0.0]])).max > 1e6


# Recorded states ---------------------------------------------------------------------------------------------------------


def test_recorded_states_cover_all_commands(exported: Path) -> None:
    first, again = states.record(exported, 200, seed=1), states.record(exported, 200, seed=1)
    assert {name: values.shape[0] for name, values in first.items()} == dict.fromkeys(first, 200)
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
    assert first["command_mask"].any(axis=0).all() and first["pose_mask"].any() and 4 <= first["reset"].sum() < 100


def test_files_of_states_are_checked(exported: Path, recorded: Path, tmp_path: Path) -> None:
    specs = metadata.load(exported).inputs
    assert len(states.load(recorded, specs, 7)["joint_pos"]) == 7
    (tmp_path / "cut.npz").write_bytes(recorded.read_bytes()[:-3000])
    arrays = states.load(recorded, specs)
    np.savez(tmp_path / "uneven.npz", **(arrays | {"joint_pos": arrays["joint_pos"][:5]}))  # pyright: ignore[reportArgumentType]
    np.savez(tmp_path / "none.npz", **{name: values[:0] for name, values in arrays.items()})
    for name, message in (("cut", "not an .npz"), ("uneven", "different numbers"), ("none", "or none")):
        with pytest.raises(DeployError, match=message):
            states.load(tmp_path / f"{name}.npz", specs)


# Closed loop -------------------------------------------------------------------------------------------------------------


def test_in_closed_loop_the_model_acts_like_the_policy(each_student: Path, each_exported: Path) -> None:
    """The same commands and steps: falls at the same time and as far off the path, but for rounding."""
    loaded = load_policy(each_student)
    model = closed_loop(each_exported, loaded, "path", 4, num_envs=2, simulator="mujoco", seed=0)
    options = {"num_envs": 2, "simulator": "mujoco", "seed": 0, "device": "cpu"}
    env = evaluation_env(loaded, "path", **options, overrides={"mix_probability": 0.0, "num_plans": 4})
    rows = run_episodes(env, lambda obs: loaded.policy.distribution(obs)[0], 4)
    env.close()
    policy = summarize(rows, EVALUATED["path"].column)
    assert model.success == policy.success and model.error == pytest.approx(policy.error, rel=0.02)


def test_success_in_closed_loop_is_recorded(student: Path, tmp_path: Path) -> None:
    folder = export(student, tmp_path / "out")
    for episodes in (2, 4):
        words = [folder, "--checkpoint", student, "--task", "path", "--num-episodes", episodes, "--num-envs", 2]
        done = CliRunner().invoke(evaluate, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        [found] = metadata.load(folder).closed_loop
        assert (found.task, found.simulator, found.episodes) == ("path", "mujoco", episodes)
        assert 0.0 <= found.success_ci[0] <= found.success <= found.success_ci[1] <= 1.0
    assert f"{folder}  path      {found.success:.1%}" in done.output
    assert "path in mujoco: success" in CliRunner().invoke(main, ["info", str(folder)]).output
