"""ONNX Runtime on an exported model: opened, and compared with what `policy.json` says. Everything odd is one line."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ..engines.libraries import LIBRARIES
from ..errors import DeployError, needs
from .metadata import METADATA_FILE, MODEL_FILE, Metadata, TensorSpec
from .properties import contradiction

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_REMEDIES = {
    "cpu": 'pip install "protege-deploy[cpu]"',
    "cuda": 'pip install "protege-deploy[gpu]" instead of [cpu], with its CUDA and cuDNN on LD_LIBRARY_PATH, or --provider cpu',
    "tensorrt": (
        'pip install "protege-deploy[gpu]" instead of [cpu], with its CUDA, cuDNN and TensorRT (libnvinfer) '
        "on LD_LIBRARY_PATH, or --provider cpu"
    ),
}
ENGINE = "tensorrt-rtx"
"""A provider that is not ONNX Runtime's: an engine that `protege-deploy build` put beside the model."""
BATCH = "N"
"""Name of the model's free dimension."""
_TYPES = {"float32": "tensor(float)", "bool": "tensor(bool)"}
_AGAIN = "Export the policy again"


def open_session(
    folder: str | Path, metadata: Metadata, threads: int = 1, provider: str = "cpu", batch: int | None = None
) -> Any:
    """An `onnxruntime.InferenceSession` of a folder's `policy.onnx`.

    Args:
        folder: the export.
        metadata: its `policy.json`.
        threads: for one step.
        provider: a key of `PROVIDERS`, for what it cannot do the CPU; or `ENGINE`. `tensorrt` is an engine too where one was built.
        batch: robots a step, if it is always the same: the arithmetic with shapes is then done once, here.

    Raises:
        DeployError: no ONNX Runtime or no such provider, not an ONNX file, or not the model that `metadata` describes.
    """
    if provider == ENGINE or (provider == "tensorrt" and (Path(folder) / LIBRARIES["tensorrt"].file).exists()):
        from ..engines.session import open_engine

        return open_engine(folder, metadata, provider, batch or 1)
    with needs("cpu"):
        import onnxruntime
    path = Path(folder) / MODEL_FILE
    if batch is not None and metadata.batch not in (None, batch):
        raise DeployError(
            f"{path} takes {metadata.batch} robots a call, not {batch}", f"Export it with --batch {batch}"
        )
    wanted = _providers(onnxruntime, provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # what fails is raised; what cannot be folded ahead is no news
    if batch is not None:
        options.add_free_dimension_override_by_name(BATCH, batch)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
    except _errors() as error:
        reason = str(error).splitlines()[0].split(" : ")[-1]
        raise DeployError(f"{path} is not a model that ONNX Runtime reads ({reason})", _AGAIN) from error
    if session.get_providers()[0] != wanted[0]:
        raise DeployError(f"this ONNX Runtime cannot start {provider}: libraries are missing", _REMEDIES[provider])
    problem = _mismatch(session, metadata, metadata.batch or batch)
    if problem:
        raise DeployError(f"{path} does not fit {METADATA_FILE}: {problem}", _AGAIN)
    return session


def _providers(onnxruntime: ModuleType, provider: str) -> list[str]:
    """The wanted provider, and the CPU for what it cannot do."""
    if provider not in PROVIDERS:
        raise DeployError(f"unknown provider {provider!r}", f"Choose among {', '.join((*PROVIDERS, ENGINE))}")
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise DeployError(f"this ONNX Runtime has no {provider}", _REMEDIES[provider])
    return list(dict.fromkeys([PROVIDERS[provider], PROVIDERS["cpu"]]))


def _errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: classes of its own, without a common base."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (x for x in vars(state).values() if isinstance(x, type) and issubclass(x, Exception))
    return (*own, RuntimeError, ValueError)


def _mismatch(session: Any, metadata: Metadata, batch: int | None) -> str:
    """What `policy.json` says otherwise than the model, empty if nothing. It is to take `batch` robots a call, None: any number."""
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
            if title == "input" and here[name].shape[0] != (batch or BATCH):
                return f"the model takes {here[name].shape[0]} robots a call"
    return contradiction(session.get_modelmeta().custom_metadata_map, metadata)


def _fits(node: Any, spec: TensorSpec) -> bool:
    """Type and shape, as far as the model says it in numbers."""
    shape = node.shape[1:]
    return (
        node.type == _TYPES[spec.dtype]
        and len(shape) == len(spec.shape)
        and all(size == wanted or not isinstance(size, int) for size, wanted in zip(shape, spec.shape, strict=True))
    )
