"""Opens an exported model in ONNX Runtime and compares it with `policy.json`. Problems are one-line errors."""

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import DeployError, needs
from .metadata import METADATA_FILE, MODEL_FILE, Metadata, TensorSpec
from .properties import contradiction

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
}
"""ONNX Runtime's execution providers, by their names on the command line."""
_REMEDIES = {
    "cpu": 'pip install "protege-deploy[cpu]"',
    "cuda": 'pip install "protege-deploy[gpu]" instead of [cpu], with its CUDA and cuDNN on LD_LIBRARY_PATH, or --provider cpu',
    "tensorrt": (
        'pip install "protege-deploy[gpu]" instead of [cpu], with its CUDA, cuDNN and TensorRT (libnvinfer) '
        "on LD_LIBRARY_PATH, or --provider cpu"
    ),
    "tensorrt-rtx": "It needs an NVIDIA RTX GPU and its driver; or take --provider cpu",
}
ENGINE_FOLDER = "engines"
"""Folder beside the model in which TensorRT caches compiled engines for later starts."""
UNCOMPILED_OPERATORS = "Gather"
"""Operators that TensorRT leaves to the next provider. Kinematics gathers each body's ancestors in four rounds. TensorRT compiles
the rounds into one kernel that computes each ancestor again for each descendant: it took ten gigabytes and did not end."""
BATCH_DIMENSION = "N"
"""Name of the model's free dimension."""
_TYPES = {"float32": "tensor(float)", "bool": "tensor(bool)"}
_EXPORT_AGAIN = "Export the policy again"


def open_file(path: str | Path, threads: int = 1) -> Any:
    """An `onnxruntime.InferenceSession` of any ONNX file, on the CPU.

    Raises:
        DeployError: ONNX Runtime is not installed, or the file does not exist or is not an ONNX file.
    """
    with needs("cpu"):
        import onnxruntime
    if not Path(path).is_file():
        raise DeployError(f"{path} does not exist", "Name an ONNX file")
    try:
        return onnxruntime.InferenceSession(str(path), _options(threads), providers=[PROVIDERS["cpu"]])
    except _errors() as error:
        raise DeployError(
            f"{path} is not a model that ONNX Runtime reads ({_reason(error)})", "Name another"
        ) from error


def _options(threads: int) -> Any:
    """Options of a session with a number of threads for one step."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors are raised anyway; warnings about constant folding are not useful
    return options


def open_session(
    folder: str | Path, metadata: Metadata, threads: int = 1, provider: str = "cpu", batch: int | None = None
) -> Any:
    """An `onnxruntime.InferenceSession` of a folder's `policy.onnx`.

    Args:
        folder: the export.
        metadata: its `policy.json`.
        threads: for one step.
        provider: a key of `PROVIDERS`. Nodes that it cannot compute run on CUDA or the CPU.
        batch: robots per step, if it is always the same: shapes are then computed once, here.

    Raises:
        DeployError: ONNX Runtime or the provider is missing, or the file is not an ONNX file or not the model of `metadata`.
    """
    if provider not in PROVIDERS:
        raise DeployError(f"unknown provider {provider!r}", f"Choose among {', '.join(PROVIDERS)}")
    with needs("cpu"):
        import onnxruntime
    path = Path(folder) / MODEL_FILE
    if batch is not None and metadata.batch not in (None, batch):
        raise DeployError(
            f"{path} takes {metadata.batch} robots a call, not {batch}", f"Export it with --batch {batch}"
        )
    options = _options(threads)
    if batch is not None:
        options.add_free_dimension_override_by_name(BATCH_DIMENSION, batch)
    if provider == "tensorrt-rtx":
        rtx = {
            "nv_runtime_cache_path": str(Path(folder) / ENGINE_FOLDER),
            "nv_op_types_to_exclude": UNCOMPILED_OPERATORS,
        }
        options.add_provider_for_devices(_rtx_devices()[:1], rtx)
        providers = None  # those of the options, and the CPU
    else:
        providers = _providers(provider, Path(folder))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except _errors() as error:
        raise DeployError(f"{path} is not a model that ONNX Runtime reads ({_reason(error)})", _EXPORT_AGAIN) from error
    if session.get_providers()[0] != PROVIDERS[provider]:
        raise DeployError(f"this ONNX Runtime cannot start {provider}: libraries are missing", _REMEDIES[provider])
    problem = _mismatch(session, metadata, metadata.batch or batch)
    if problem:
        raise DeployError(f"{path} does not fit {METADATA_FILE}: {problem}", _EXPORT_AGAIN)
    return session


def _providers(provider: str, folder: Path) -> list[tuple[str, dict[str, str]]]:
    """The provider with its options, followed by those for the nodes that it cannot compute."""
    import onnxruntime

    cache = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder / ENGINE_FOLDER)}
    options = {"tensorrt": {**cache, "trt_op_types_to_exclude": UNCOMPILED_OPERATORS}}
    chain = {"cpu": ["cpu"], "cuda": ["cuda", "cpu"], "tensorrt": ["tensorrt", "cuda", "cpu"]}[provider]
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise DeployError(f"this ONNX Runtime has no {provider}", _REMEDIES[provider])
    return [(PROVIDERS[name], options.get(name, {})) for name in chain]


@cache
def _rtx_devices() -> list[Any]:
    """The GPUs that TensorRT for RTX can use. Its provider is a plug-in that a process registers once."""
    import onnxruntime

    with needs("tensorrt-rtx"):
        plugin = import_module("onnxruntime_ep_nv_tensorrt_rtx")
    try:
        onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    except _errors() as error:
        problem = f"ONNX Runtime cannot start tensorrt-rtx ({_reason(error)})"
        raise DeployError(problem, _REMEDIES["tensorrt-rtx"]) from error
    devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == plugin.get_ep_name()]
    if not devices:
        raise DeployError("tensorrt-rtx finds no GPU that it can use", _REMEDIES["tensorrt-rtx"])
    return devices


def _errors() -> tuple[type[Exception], ...]:
    """The exceptions of ONNX Runtime, which have no common base class."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (x for x in vars(state).values() if isinstance(x, type) and issubclass(x, Exception))
    return (*own, RuntimeError, ValueError)


def _reason(error: Exception) -> str:
    """The end of ONNX Runtime's message, without its codes."""
    return str(error).splitlines()[0].split(" : ")[-1]


def _mismatch(session: Any, metadata: Metadata, batch: int | None) -> str:
    """The first difference between `policy.json` and the model; empty if none. batch: expected robots per call; None: any."""
    for title, nodes, specs in (
        ("input", session.get_inputs(), metadata.inputs),
        ("output", session.get_outputs(), metadata.outputs),
    ):
        here, there = {node.name: node for node in nodes}, {spec.name: spec for spec in specs}
        for name in [*there, *here]:
            if name not in here:
                return f"the model has no {title} {name}"
            if name not in there:
                return f"the model's {title} {name} is not described"
            if not _fits(here[name], there[name]):
                return f"{title} {name} is {here[name].type} {here[name].shape[1:]} in the model"
            if title == "input" and here[name].shape[0] != (batch or BATCH_DIMENSION):
                return f"the model takes {here[name].shape[0]} robots a call"
    return contradiction(session.get_modelmeta().custom_metadata_map, metadata)


def _fits(node: Any, spec: TensorSpec) -> bool:
    """Whether type and shape agree; symbolic sizes of the model fit any number."""
    shape = node.shape[1:]
    return (
        node.type == _TYPES[spec.dtype]
        and len(shape) == len(spec.shape)
        and all(size == wanted or not isinstance(size, int) for size, wanted in zip(shape, spec.shape, strict=True))
    )
