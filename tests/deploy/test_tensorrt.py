"""What torch-tensorrt is given to compile, and TensorRT's providers where there is no GPU for them."""

import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
from click.testing import CliRunner, Result

from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.export.check import random_inputs
from protege.deploy.export.export import load_graph
from protege.deploy.export.tensorrt import KEPT_IN_TORCH, exported_program
from protege.deploy.policy import session
from protege.deploy.runtime import OnnxPolicy


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def one_line(done: Result, message: str) -> None:
    assert done.exit_code == 2 and done.output.startswith("error: ") and done.output.count("\n") == 1, done.output
    assert message in done.output


# Compiled ahead of time ------------------------------------------------------------------------------------------------------


def test_the_exported_program_is_the_graph(student: Path) -> None:
    _, graph, robot = load_graph(student)
    program, traced = exported_program(graph, 5)
    inputs = random_inputs(graph, robot, 5, torch.Generator().manual_seed(0))
    given = [inputs[spec.name] for spec in graph.specs]
    assert [tensor.shape for tensor in traced] == [tensor.shape for tensor in given]
    with torch.no_grad():
        for actual, expected in zip(program.module()(*given), graph(*given), strict=True):
            torch.testing.assert_close(actual, expected, atol=1e-6, rtol=0.0)
    assert {node.target for node in program.graph.nodes} >= KEPT_IN_TORCH  # the kinematics gather ancestors


def test_a_missing_compiler_is_reported(student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_tensorrt", None)
    done = call("build", "--checkpoint", student, "--output", tmp_path / "policy.pt2")
    one_line(done, 'torch_tensorrt is not installed. pip install "protege-deploy[tensorrt]"')
    assert not list(tmp_path.iterdir())


# ONNX Runtime's providers ----------------------------------------------------------------------------------------------------


def test_tensorrt_caches_its_engines_beside_the_model(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    class Session:
        def __init__(self, model: str, options: onnxruntime.SessionOptions, providers: list) -> None:
            requested.extend(providers)

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    built = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: built)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    with pytest.raises(DeployError, match="cannot start tensorrt: libraries are missing"):
        OnnxPolicy(exported, provider="tensorrt")
    assert [name for name, _ in requested] == built
    assert requested[0][1] == {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(exported / "engines"),
        "trt_op_types_to_exclude": "Gather",
    }


def test_tensorrt_for_rtx_reports_what_is_missing(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its provider is installed here. Without NVIDIA's driver its library does not load; on another GPU it finds no device."""
    done = call("run", exported, "--provider", "tensorrt-rtx", "--fast", "--seconds", "0.1")
    if done.exit_code:
        one_line(done, "It needs an NVIDIA RTX GPU and its driver; or take --provider cpu")
    session._rtx_devices.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    done = call("run", exported, "--provider", "tensorrt-rtx")
    one_line(done, 'onnxruntime_ep_nv_tensorrt_rtx is not installed. pip install "protege-deploy[tensorrt-rtx]"')


def test_an_unknown_provider_error_lists_the_known_ones(exported: Path) -> None:
    one_line(call("run", exported, "--provider", "vulkan"), "Choose among cpu, cuda, tensorrt, tensorrt-rtx")
