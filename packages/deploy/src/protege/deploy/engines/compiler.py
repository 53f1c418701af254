"""From ONNX to a serialized engine, by either kind of TensorRT. No GPU is needed for TensorRT for RTX."""

from typing import Any

from ..errors import DeployError
from .libraries import Library


def compile_engine(model: bytes, library: Library) -> bytes:
    """Build an engine.

    Args:
        model: serialized ONNX, with all shapes fixed.
        library: which TensorRT.

    Raises:
        DeployError: the library is missing, cannot start here, or does not take the model.
    """
    trt = library.load()
    heard: list[str] = []
    logger = logger_that_keeps(trt, heard)
    builder = _start(trt, library, logger, heard)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        raise DeployError(
            f"{library.name} {trt.__version__} does not read the model ({parser.get_error(0).desc()})",
            f'pip install --upgrade "protege-deploy[{library.extra}]"',
        )
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # 10 bits would do for the network, not for positions in the world
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = heard[-1] if heard else "it does not say why"
        raise DeployError(f"{library.name} {trt.__version__} built no engine ({reason})", "Try --precision fp32")
    return bytes(engine)


def _start(trt: Any, library: Library, logger: Any, heard: list[str]) -> Any:
    """The builder; TensorRT for data centres has none where there is no GPU."""
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # what a null pointer from C++ becomes
        reason = heard[-1] if heard else str(error)
        raise DeployError(
            f"{library.name} {trt.__version__} cannot start ({reason})",
            "Build where there is an NVIDIA GPU with a driver for this CUDA, or take --engine tensorrt-rtx",
        ) from error
    return builder


def logger_that_keeps(trt: Any, heard: list[str]) -> Any:
    """A logger that keeps the errors it is told in a list, and prints nothing."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                heard.append(msg)

    return Logger()
