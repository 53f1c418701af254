"""What is known of a built engine, in a file beside it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeployError
from ..policy.metadata import Accuracy
from .libraries import Library


@dataclass(frozen=True)
class EngineRecord:
    """What a built engine is; `policy.NAME.json`.

    Attributes:
        engine: tensorrt or tensorrt-rtx.
        version: of that library.
        model_sha256: of the `policy.onnx` that it was built from.
        engine_sha256: of the engine's file.
        batch: robots a call.
        bound: largest difference of a joint target that was allowed, rad.
        gpu: compute capability that it was run on; empty if it was built and never run.
        accuracy: against `policy.onnx` on the CPU, on states of closed loops; None if it was never run.
    """

    engine: str
    version: str
    model_sha256: str
    engine_sha256: str
    batch: int
    bound: float
    gpu: str = ""
    accuracy: Accuracy | None = None


def record_path(folder: Path, library: Library) -> Path:
    """Of an engine's record."""
    return folder / f"policy.{library.name}.json"


def load_record(folder: Path, library: Library) -> EngineRecord:
    """An engine's record.

    Raises:
        DeployError: missing or damaged.
    """
    path = record_path(folder, library)
    try:
        data: dict[str, Any] = json.loads(read(path))
        accuracy = data.pop("accuracy")
        return EngineRecord(**data, accuracy=accuracy and Accuracy(**accuracy))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeployError(f"{path} is damaged ({error})", f"Build the engine again: --engine {library.name}") from error


def read(path: Path) -> bytes:
    """A file's content.

    Raises:
        DeployError: it is not there.
    """
    if not path.is_file():
        raise DeployError(f"{path} does not exist", "Build it: protege-deploy build FOLDER --engine NAME")
    return path.read_bytes()
