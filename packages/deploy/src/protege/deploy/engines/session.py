"""Runs a built engine on the GPU, like an ONNX Runtime session. Needs cuda-bindings and the kind of TensorRT that built it."""

import hashlib
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeployError, needs
from ..interface import Array
from ..policy.metadata import DTYPES, Metadata
from .compiler import logger_that_keeps
from .libraries import LIBRARIES, Library, gpu
from .record import load_record, read


class EngineSession:
    """An engine with its buffers on the GPU.

    Args:
        engine: serialized.
        library: which TensorRT.
        metadata: of the model that it was built from.
        batch: robots a call.

    Raises:
        DeployError: no GPU, one that the engine is not for, or another version of the library.
    """

    def __init__(self, engine: bytes, library: Library, metadata: Metadata, batch: int) -> None:
        trt, capability = library.load(), gpu()
        with needs(library.extra):
            self._cuda: Any = import_module("cuda.bindings.runtime")
        if not capability:
            raise DeployError(
                f"{library.name} needs an NVIDIA GPU and its driver, none can be used here", "Take --provider cpu"
            )
        if not library.runs_on(capability):
            raise DeployError(
                f"{library.name} does not run on a GPU of compute capability {capability}",
                "Take --provider cuda, or --engine tensorrt",
            )
        heard: list[str] = []
        self._runtime = trt.Runtime(logger_that_keeps(trt, heard))
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            reason = heard[-1] if heard else "it does not say why"
            raise DeployError(
                f"{library.name} {trt.__version__} cannot load the engine ({reason})",
                f"Build it again here: protege-deploy build --engine {library.name}",
            )
        self._context = self._engine.create_execution_context()
        self._stream = self._call("cudaStreamCreate")
        self._outputs = [spec.name for spec in metadata.outputs]
        self._host = {
            spec.name: np.zeros((batch, *spec.shape), DTYPES[spec.dtype])
            for spec in (*metadata.inputs, *metadata.outputs)
        }
        self._device = {name: self._call("cudaMalloc", array.nbytes) for name, array in self._host.items()}
        for name, address in self._device.items():
            self._context.set_tensor_address(name, int(address))

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, Array]) -> list[Array]:
        """Outputs by name, all if None, of inputs by name."""
        kinds = self._cuda.cudaMemcpyKind
        for name, value in feeds.items():
            host = self._host[name]
            np.copyto(host, value)
            copy = (self._device[name], host.ctypes.data, host.nbytes, kinds.cudaMemcpyHostToDevice, self._stream)
            self._call("cudaMemcpyAsync", *copy)
        self._context.execute_async_v3(int(self._stream))
        for name in self._outputs:
            host = self._host[name]
            copy = (host.ctypes.data, self._device[name], host.nbytes, kinds.cudaMemcpyDeviceToHost, self._stream)
            self._call("cudaMemcpyAsync", *copy)
        self._call("cudaStreamSynchronize", self._stream)
        return [self._host[name].copy() for name in names or self._outputs]

    def _call(self, function: str, *arguments: Any) -> Any:
        """A call of CUDA; its result.

        Raises:
            DeployError: CUDA says no.
        """
        error, *results = getattr(self._cuda, function)(*arguments)
        if error != self._cuda.cudaError_t.cudaSuccess:
            raise DeployError(f"CUDA: {function} gave {error.name}", "Is the GPU's memory full, or its driver too old?")
        return results[0] if results else None


def open_engine(folder: str | Path, metadata: Metadata, name: str, batch: int) -> EngineSession:
    """A session of an engine that was built before.

    Raises:
        DeployError: it was not built, or from another model, for another batch or by another version; or it cannot run here.
    """
    library, again = LIBRARIES[name], f"Build it again: protege-deploy build FOLDER --engine {name}"
    engine = read(Path(folder) / library.file)
    record = load_record(Path(folder), library)
    for what, here, there in (
        ("model", metadata.model_sha256, record.model_sha256),
        ("file", hashlib.sha256(engine).hexdigest(), record.engine_sha256),
        ("batch", batch, record.batch),
        ("version of the library", library.load().__version__, record.version),
    ):
        if here != there:
            raise DeployError(f"{Path(folder) / library.file} is of another {what} ({there}, not {here})", again)
    return EngineSession(engine, library, metadata, batch)
