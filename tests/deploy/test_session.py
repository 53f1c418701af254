"""A model that is not what `policy.json` says is one clear line; so is a provider that cannot start."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.policy import metadata
from protege.deploy.runtime import OnnxPolicy


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "copy"))


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    """Let `change` alter policy.json, and keep its checksum of policy.onnx true: whoever damages on purpose would."""
    path = folder / "policy.json"
    data = json.loads(path.read_text())
    change(data)
    data["model_sha256"] = metadata.file_sha256(folder / "policy.onnx")
    path.write_text(json.dumps(data))


def refuses(folder: Path) -> str:
    """The one line that `run` says."""
    done = CliRunner().invoke(main, ["run", str(folder), "--fast", "--seconds", "0.1"])
    assert done.exit_code == 2, done.output
    assert done.output.startswith("error: ") and done.output.count("\n") == 1
    return done.output


def swapped(names: list[str]) -> None:
    names[3], names[6] = names[6], names[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: swapped(d["joint_names"]), "the model has other joint_names, or in another order"),
        (lambda d: d["joint_names"].reverse(), "the model has other joint_names, or in another order"),
        (lambda d: swapped(d["body_names"]), "the model has other body_names, or in another order"),
        (lambda d: d["inputs"].pop(4), "the model's input joint_pos is not described"),
        (lambda d: d["inputs"][4].update(name="angles"), "the model has no input angles"),
        (lambda d: d["inputs"][4].update(shape=[70]), "input joint_pos is tensor(float) [69] in the model"),
        (lambda d: d["inputs"][4].update(dtype="bool"), "input joint_pos is tensor(float) [69] in the model"),
        (lambda d: d["outputs"].pop(), "the model's output next_history is not described"),
        (lambda d: d["stiffness"].__setitem__(3, 801.0), "the model has another joint_stiffness"),
        (lambda d: d["damping"].reverse(), "the model has another joint_damping"),
        (lambda d: d["default_joint_pos"].__setitem__(0, 1e-9), "the model has another default_joint_pos"),
        (lambda d: d["action_scale"].__setitem__(2, 0.5), "the model has another action_scale"),
        (lambda d: d.update(control_dt=0.025), "the model has another control_dt"),
        (lambda d: d.update(control_dt=0.025, physics_dt=0.0125), "the model has another control_dt"),
    ],
)
def test_a_policy_json_that_contradicts_the_model_is_refused(change: Callable, message: str, folder: Path) -> None:
    edit(folder, change)
    output = refuses(folder)
    assert (
        f"{folder / 'policy.onnx'} does not fit policy.json: {message}" in output
        and "Export the policy again" in output
    )


def test_a_foreign_model_is_refused(folder: Path) -> None:
    """A perfectly good model of something else, even one with the same inputs and outputs."""
    model = onnx.load(folder / "policy.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "policy.onnx")
    assert "is not the model that policy.json describes" in refuses(folder)
    edit(folder, lambda data: None)
    assert "the model has other joint_names" in refuses(folder)

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "foreign", [x], [y])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "policy.onnx"
    )
    edit(folder, lambda data: None)
    assert "the model has no input root_pos_w" in refuses(folder)


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.999])
def test_a_truncated_model_is_refused(keep: float, folder: Path) -> None:
    path = folder / "policy.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    assert "is not the model that policy.json describes" in refuses(folder)
    edit(folder, lambda data: None)
    assert f"{path} is not a model that ONNX Runtime reads" in refuses(folder) or keep == 0


def test_a_newer_schema_says_to_update(folder: Path) -> None:
    edit(folder, lambda data: data.update(schema_version=4, something_new=1))
    output = refuses(folder)
    assert "has schema version 4, this is 3. Update protege-deploy" in output
    edit(folder, lambda data: data.update(schema_version=0))
    assert "has schema version 0, this is 3. Export the policy again" in refuses(folder)


def test_a_robot_without_the_policys_joints_is_refused(folder: Path) -> None:
    path = folder / "robot.xml"
    name = metadata.load(folder).joint_names[0]
    path.write_text(path.read_text().replace(f'"{name}"', '"another"'))
    assert str(path) in refuses(folder)
    path.write_text("<mujoco>")
    assert str(path) in refuses(folder)
    path.unlink()
    assert f"{path} does not exist" in refuses(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('timestep="0.008333333333333333"', 'timestep="0.005"', "has physics_dt 0.005, policy.json 0.00833"),
        ('gainprm="800.0"', 'gainprm="80"', "has stiffness of L_Hip_x 80.0, policy.json 800.0"),
        ('biasprm="0.0 -800.0 -80.0"', 'biasprm="0 -800 -8"', "has damping of L_Hip_x 8.0, policy.json 80.0"),
        ('actuatorfrcrange="-500.0 500.0"', 'actuatorfrcrange="-50 50"', "has effort_limit of L_Hip_x 50.0, policy.json 500.0"),
        ('range="-0.9 1.4"', 'range="-0.9 1.5"', "has joint_range of L_Hip_x [-0.9 1.5], policy.json [-0.9, 1.4]"),
    ],
)  # fmt: skip
def test_a_robot_that_contradicts_policy_json_is_refused(old: str, new: str, message: str, folder: Path) -> None:
    path = folder / "robot.xml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    assert message in refuses(folder)


# Providers ---------------------------------------------------------------------------------------------------------------


class Fallen:
    """A session that fell back to the CPU, as ONNX Runtime does when the libraries of a provider are missing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("provider", "remedy"), [("tensorrt", "CUDA, cuDNN and TensorRT (libnvinfer)"), ("cuda", "its CUDA and cuDNN")]
)
def test_a_missing_provider_error_has_a_remedy(
    provider: str, remedy: str, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(DeployError, match=f"this ONNX Runtime has no {provider}") as refusal:
        OnnxPolicy(exported, provider=provider)
    assert remedy in str(refusal.value) and "protege-deploy[gpu]" in str(refusal.value)
    # The GPU build is there, the libraries that it opens are not.
    built = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Fallen)
    with pytest.raises(DeployError, match=f"cannot start {provider}: libraries are missing") as refusal:
        OnnxPolicy(exported, provider=provider)
    assert remedy in str(refusal.value)


def test_the_threads_reach_onnx_runtime(exported: Path) -> None:
    options = OnnxPolicy(exported, threads=2)._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


# The command line --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["--seconds", "nan"],
        ["--seconds", "inf"],
        ["--seconds", "0"],
        ["--speed", "nan"],
        ["--turn-rate", "inf"],
        ["--direction", "nan"],
        ["--goal", "nan", "0"],
        ["--threads", "-1"],
        ["--threads", "0"],
        ["--seed", "-1"],
    ],
)
def test_nan_and_infinite_options_are_refused(words: list[str], exported: Path) -> None:
    done = CliRunner().invoke(main, ["run", str(exported), "--fast", *words])
    assert done.exit_code == 2
    assert f"Invalid value for '{words[0]}'" in done.output.splitlines()[-1]


def test_a_report_contains_null_instead_of_nan(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = {
        "loop": {
            "stages_ms": {"infer": {"p50": float("nan")}, "cycle": {}},
            "missed_deadlines": 0,
            "steps": 3,
            "event": None,
            "resumed": [],
            "clipped": {},
        },
        "errors": {"path_following_err": float("inf")},
        "stood": True,
        "fell_at_s": None,
        "notes": [],
        "dropped": {},
        "dropped_orders": {},
        "memory_mb": {"after_a_minute": None, "at_the_end": 1.0},
        "walked_m": 1.0,
    }
    monkeypatch.setattr("protege.deploy.loop.closed_loop.run_closed_loop", lambda *_, **__: result)
    path = tmp_path / "report.json"
    done = CliRunner().invoke(main, ["run", str(exported), "--report", str(path)])
    assert done.exit_code == 0, done.output

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    report = json.loads(path.read_text(), parse_constant=refuse)
    assert report["loop"]["stages_ms"]["infer"] == {"p50": None} and report["errors"] == {"path_following_err": None}


def test_info_fits_80_columns(exported: Path) -> None:
    program = "from protege.deploy.cli.main import main; main()"
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-c", program, "info", str(exported)]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert max(map(len, output.splitlines())) <= 80 and "…" not in output
    described = metadata.load(exported)
    rows = [line.split()[0] for line in output.splitlines() if line and not line.startswith(" ")]
    assert rows[1:] == [
        "inputs", *(spec.name for spec in described.inputs), "outputs", *(spec.name for spec in described.outputs)
    ]  # fmt: skip
    assert all(spec.meaning in output for spec in described.inputs)


@pytest.mark.parametrize("value", ["foo", "osmesa"])
def test_a_broken_mujoco_gl_is_a_one_line_error(value: str, exported: Path, tmp_path: Path) -> None:
    """MuJoCo opens OpenGL when it is imported; here without a library to be found, as on a robot."""
    program = """
import sys, ctypes.util
ctypes.util.find_library = lambda name: None
from protege.deploy.cli.main import main
main()
"""
    environment = {**os.environ, "MUJOCO_GL": value}
    environment.pop("PYOPENGL_PLATFORM", None)
    command = [sys.executable, "-c", program, "run", str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and done.stderr.startswith(f"error: MuJoCo cannot start with MUJOCO_GL={value}")
    assert "Unset MUJOCO_GL" in done.stderr


def test_the_latency_of_one_step_is_measured(exported: Path, tmp_path: Path) -> None:
    """What `--fast` prints is the report's; how fast a machine is, no test can promise."""
    path = tmp_path / "report.json"
    words = ["run", str(exported), "--fast", "--seconds", "3.4", "--threads", "1", "--no-safety", "--report", str(path)]
    output = CliRunner().invoke(main, words).output
    measured = SimpleNamespace(**json.loads(path.read_text())["loop"])
    infer = measured.stages_ms["infer"]
    assert measured.steps == 102 and 0.0 < infer["p50"] <= infer["p99"]
    times = "  ".join(f"{key} {value:.2f}" for key, value in infer.items())
    assert f"\ninfer        {times} ms\n" in output
