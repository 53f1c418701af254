"""NVIDIA's libraries, imported when they are needed; what is missing or too old is one line with the remedy."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..errors import DeployError


@dataclass(frozen=True)
class Library:
    """A kind of TensorRT; both kinds have the same interface.

    Attributes:
        name: of the engine, as the command line says it.
        module: that is imported.
        extra: of protege-deploy that installs it.
        file: what is built, beside `policy.onnx`.
        capabilities: what the compute capabilities that its engines run on begin with; None for any.
    """

    name: str
    module: str
    extra: str
    file: str
    capabilities: tuple[str, ...] | None = None

    def load(self) -> Any:
        """The module.

        Raises:
            DeployError: not installed, or it cannot be loaded.
        """
        remedy = f'pip install "protege-deploy[{self.extra}]"'
        try:
            return import_module(self.module)
        except ModuleNotFoundError as error:
            raise DeployError(f"{error.name} is not installed", remedy) from error
        except (ImportError, OSError, RuntimeError) as error:
            # A wheel of one version with the libraries of another, or without them.
            raise DeployError(
                f"{self.module} cannot be loaded ({error})", f"{remedy} into an empty environment"
            ) from error

    def runs_on(self, capability: str) -> bool:
        """Whether an engine of this kind runs on a GPU of this compute capability; empty: there is none."""
        return bool(capability) and (self.capabilities is None or capability.startswith(self.capabilities))


LIBRARIES = {
    library.name: library
    for library in (
        Library("tensorrt", "tensorrt", "tensorrt", "policy.tensorrt.engine"),
        Library(
            "tensorrt-rtx", "tensorrt_rtx", "tensorrt-rtx", "policy.tensorrt-rtx.engine", ("8.0", "8.6", "8.9", "12.")
        ),
    )
}


def gpu() -> str:
    """Compute capability of the GPU, `8.9` for instance; empty if there is none that can be used."""
    try:
        cuda = import_module("cuda.bindings.runtime")
    except ImportError:
        return ""
    error, count = cuda.cudaGetDeviceCount()
    if error != cuda.cudaError_t.cudaSuccess or not count:
        return ""
    attributes = cuda.cudaDeviceAttr
    numbers = [
        cuda.cudaDeviceGetAttribute(which, 0)[1]
        for which in (attributes.cudaDevAttrComputeCapabilityMajor, attributes.cudaDevAttrComputeCapabilityMinor)
    ]
    return f"{numbers[0]}.{numbers[1]}"
