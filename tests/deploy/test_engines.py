"""Engines: TensorRT for RTX really builds one; what cannot run here is played by fakes that keep its interface."""

import ctypes
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result

from protege.deploy.cli.main import main
from protege.deploy.engines import build as build_module
from protege.deploy.engines import libraries
from protege.deploy.engines.libraries import LIBRARIES, gpu
from protege.deploy.engines.prepare import prepared
from protege.deploy.engines.record import load_record
from protege.deploy.engines.session import EngineSession
from protege.deploy.errors import DeployError
from protege.deploy.export import states
from protege.deploy.export.accuracy import run_batches
from protege.deploy.export.export import Variant, export
from protege.deploy.policy import metadata
from protege.deploy.policy.session import open_session
from protege.deploy.runtime import OnnxPolicy

RTX = LIBRARIES["tensorrt-rtx"]


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def one_line(done: Result, message: str) -> None:
    assert done.exit_code == 2 and done.output.startswith("error: ") and done.output.count("\n") == 1, done.output
    assert message in done.output


@pytest.fixture(scope="module")
def recorded(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("states") / "states.npz"
    np.savez(path, **states.record(exported, 60))  # pyright: ignore[reportArgumentType]
    return path


@pytest.fixture
def folder(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


@pytest.fixture(scope="module")
def built(exported: Path, recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """An export with an engine for RTX, and what `build` said."""
    folder = Path(shutil.copytree(exported, tmp_path_factory.mktemp("engine") / "copy"))
    return folder, call("build", folder, "--engine", "tensorrt-rtx", "--states", recorded)


def test_an_engine_is_built_without_a_gpu(built: tuple[Path, Result]) -> None:
    folder, said = built
    assert said.exit_code == 0, said.output
    record = load_record(folder, RTX)
    assert (record.engine, record.batch, record.bound) == ("tensorrt-rtx", 1, 1e-4)
    assert record.model_sha256 == metadata.load(folder).model_sha256
    assert record.engine_sha256 == metadata.file_sha256(folder / RTX.file)
    assert RTX.runs_on(gpu()) == (record.accuracy is not None) == bool(record.gpu)
    assert ("built, not run" in said.output) == (record.accuracy is None)


def test_an_engine_that_cannot_run_says_so(built: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for capability, message in (("", "needs an NVIDIA GPU and its driver"), ("9.0", "compute capability 9.0. Take")):
        monkeypatch.setattr("protege.deploy.engines.session.gpu", lambda capability=capability: capability)
        one_line(call("run", built[0], "--provider", "tensorrt-rtx"), message)


def test_what_is_prepared_acts_like_the_model(exported: Path, recorded: Path) -> None:
    described = metadata.load(exported)
    inputs, model = states.load(recorded, described.inputs), onnx.load(exported / "policy.onnx")
    expected = run_batches(open_session(exported, described), inputs)
    ready = prepared(model, described, 7)
    actual = run_batches(build_module._on_cpu(ready.SerializeToString()), inputs, 7)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, atol=1e-5)
    products = [node.name for node in ready.graph.node if node.name.endswith("/product")]
    assert len(products) == 7 and {node.domain for node in ready.graph.node} == {""}
    assert {x.type.tensor_type.shape.dim[0].dim_value for x in ready.graph.input} == {7}


# What is missing or does not fit ---------------------------------------------------------------------------------------------


def test_a_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    remedy = 'not installed. pip install "protege-deploy[tensorrt]"'
    one_line(call("build", folder, "--engine", "tensorrt"), remedy)
    one_line(call("run", folder, "--provider", "tensorrt-rtx"), "policy.tensorrt-rtx.engine does not exist. Build it")


def test_libraries_of_another_version_are_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    message = "tensorrt cannot be loaded (libnvinfer.so.10: cannot open shared object file)"
    one_line(call("build", folder, "--engine", "tensorrt"), message)


def test_a_builder_that_cannot_start_is_one_line(folder: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT for data centres has no builder where there is no GPU: a null pointer, which Python sees as a TypeError."""

    class Logger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=2)

    def refuse(logger: Any) -> None:
        logger.log(3, "hello")
        logger.log(1, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    fake = ModuleType("tensorrt")
    vars(fake).update(__version__="10.15", ILogger=Logger, Builder=refuse)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    done = call("build", folder, "--engine", "tensorrt", "--states", recorded)
    one_line(done, "tensorrt 10.15 cannot start (CUDA initialization failure with error: 35). Build where there is an")


def test_int8_and_other_batches_are_refused(student: Path, recorded: Path, tmp_path: Path) -> None:
    four = export(student, tmp_path / "four", Variant(batch=4))
    one_line(call("build", four, "--engine", "tensorrt-rtx"), "exported for 4 robots a call. Add --batch 4")
    data = json.loads((four / "policy.json").read_text())
    (four / "policy.json").write_text(json.dumps(data | {"precision": "int8"}))
    done = call("build", four, "--engine", "tensorrt-rtx", "--batch", "4", "--states", recorded)
    one_line(done, "is in int8 for CPUs, which tensorrt-rtx does not read. Export with --precision fp16")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_sha256": "0" * 64}, "is of another model"),
        ({"engine_sha256": "0" * 64}, "is of another file"),
        ({"batch": 2}, "is of another batch (2, not 1)"),
        ({"version": "0.9"}, "is of another version of the library (0.9, not "),
        ({"colour": "red"}, "policy.tensorrt-rtx.json is damaged"),
    ],
)
def test_an_engine_of_something_else_is_refused(change: dict, message: str, built: tuple, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(built[0], tmp_path / "copy"))
    path = folder / "policy.tensorrt-rtx.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    one_line(call("run", folder, "--provider", "tensorrt-rtx"), message)


# Where there is a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "kept"), [(0.0, True), (5e-5, True), (2e-4, False), (np.nan, False)])
def test_an_engine_that_acts_otherwise_is_not_handed_over(
    error: float, kept: bool, folder: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = metadata.load(folder)

    class Engine:
        """The model on the CPU, with an error in one joint of one state."""

        def __init__(self, engine: bytes, *_: Any) -> None:
            assert engine == b"engine"
            self.session, self.calls = open_session(folder, described), 0

        def run(self, names: None, feeds: dict) -> list[np.ndarray]:
            outputs = self.session.run(None, feeds)
            outputs[0][0, 5] += error * (self.calls == 30)
            self.calls += 1
            return outputs

    monkeypatch.setattr(build_module, "compile_engine", lambda model, library: b"engine")
    monkeypatch.setattr(build_module, "gpu", lambda: "8.9")
    monkeypatch.setattr(build_module, "EngineSession", Engine)
    done = call("build", folder, "--engine", "tensorrt-rtx", "--states", recorded)
    assert (folder / RTX.file).exists() == (folder / "policy.tensorrt-rtx.json").exists() == kept
    if kept:
        record = load_record(folder, RTX)
        assert record.gpu == "8.9" and record.accuracy is not None and record.accuracy.states == 60
        assert record.accuracy.max == pytest.approx(error, abs=2e-6)
        assert "on a GPU of capability 8.9" in done.output
    else:
        one_line(done, "rad from the ONNX model's, more than 0.0001; it is not kept")


class FakeCuda(ModuleType):
    """CUDA's runtime on the memory of this process."""

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.memory: list[Any] = []
        self.cudaError_t = SimpleNamespace(cudaSuccess="ok")
        self.cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        self.full = False

    def cudaStreamCreate(self) -> tuple:  # noqa: N802
        return "ok", 7

    def cudaMalloc(self, size: int) -> tuple:  # noqa: N802
        self.memory.append(ctypes.create_string_buffer(size))
        failed = SimpleNamespace(name="cudaErrorMemoryAllocation")
        return (failed, None) if self.full else ("ok", ctypes.addressof(self.memory[-1]))

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple:  # noqa: N802
        assert kind in (1, 2) and stream == 7
        ctypes.memmove(to, source, size)
        return ("ok",)

    def cudaStreamSynchronize(self, stream: int) -> tuple:  # noqa: N802
        return ("ok",)


def fake_tensorrt(run: Callable[[dict[str, int]], None]) -> ModuleType:
    """TensorRT whose engine is a function of the tensors' addresses."""

    class Context:
        def __init__(self) -> None:
            self.addresses: dict[str, int] = {}
            self.set_tensor_address = self.addresses.__setitem__

        def execute_async_v3(self, stream: int) -> None:
            run(self.addresses)

    class Logger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=2)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, engine: bytes) -> Any:
            if engine == b"old":
                self.logger.log(1, "the engine was made by version 10.3")
                return None
            return SimpleNamespace(create_execution_context=Context)

    module = ModuleType("tensorrt")
    vars(module).update(__version__="10.15", ILogger=Logger, Runtime=Runtime)
    return module


def test_an_engine_runs_like_a_session(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described, cuda = metadata.load(exported), FakeCuda()

    def array(address: int, count: int) -> np.ndarray:
        return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))

    def run(addresses: dict[str, int]) -> None:
        array(addresses["joint_target"], 2 * 69)[:] = 2.0 * array(addresses["joint_pos"], 2 * 69)

    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt(run))
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    monkeypatch.setattr("protege.deploy.engines.session.gpu", lambda: "9.0")
    session = EngineSession(b"engine", LIBRARIES["tensorrt"], described, 2)
    joint_pos = np.random.default_rng(0).normal(size=(2, 69)).astype(np.float32)
    target, history = session.run(None, {"joint_pos": joint_pos})
    np.testing.assert_array_equal(target, 2.0 * joint_pos)
    assert history.shape == (2, 3, 220)
    session.run(["joint_target"], {"joint_pos": 0.0 * joint_pos})
    np.testing.assert_array_equal(target, 2.0 * joint_pos)  # what was returned is not written over
    with pytest.raises(
        DeployError, match=r"cannot load the engine \(the engine was made by version 10\.3\)\. Build it again"
    ):
        EngineSession(b"old", LIBRARIES["tensorrt"], described, 2)
    cuda.full = True
    with pytest.raises(DeployError, match="cudaMalloc gave cudaErrorMemoryAllocation"):
        EngineSession(b"engine", LIBRARIES["tensorrt"], described, 2)


def test_tensorrt_is_the_built_engine_where_there_is_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeployError, match="this ONNX Runtime has no tensorrt"):
        OnnxPolicy(folder, provider="tensorrt")
    (folder / "policy.tensorrt.engine").write_bytes(b"engine")
    with pytest.raises(DeployError, match=r"policy\.tensorrt\.json does not exist"):
        OnnxPolicy(folder, provider="tensorrt")


def test_compute_capability_is_cudas(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = SimpleNamespace(cudaDevAttrComputeCapabilityMajor="major", cudaDevAttrComputeCapabilityMinor="minor")
    cuda = ModuleType("cuda.bindings.runtime")
    vars(cuda).update(
        cudaError_t=SimpleNamespace(cudaSuccess="ok"),
        cudaDeviceAttr=attributes,
        cudaGetDeviceCount=lambda: ("ok", 1),
        cudaDeviceGetAttribute=lambda which, device: ("ok", {"major": 12, "minor": 0}[which]),
    )
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", cuda)
    assert libraries.gpu() == "12.0" and RTX.runs_on("12.0") and not RTX.runs_on("9.0") and not RTX.runs_on("")
    vars(cuda).update(cudaGetDeviceCount=lambda: ("no driver", None))
    assert libraries.gpu() == ""
