"""`protege-deploy build`: an engine beside policy.onnx, with a record of what it is and whether it was ever run."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx

from ..cli.output import write_whole
from ..errors import DeployError
from ..export import states as _states
from ..export.accuracy import BOUNDS, compare, run_batches
from ..policy import metadata as _metadata
from ..policy.metadata import MODEL_FILE, Accuracy
from ..policy.session import open_session
from .compiler import compile_engine
from .libraries import LIBRARIES, gpu
from .prepare import prepared
from .record import EngineRecord, record_path
from .session import EngineSession

STATES = 1000
CLOSE = 1e-5
"""What preparing a model may change of its joint targets, rad: sums in another order."""


def build(folder: str | Path, name: str, batch: int = 1, states: str | Path | None = None) -> EngineRecord:
    """Build an engine and hand it over if it acts like the model.

    Args:
        folder: an export; the engine and its record are put there.
        name: a key of `LIBRARIES`.
        batch: robots a call.
        states: .npz of `run --record`; None to record them.

    Raises:
        DeployError: a library or a GPU is missing where it is needed, or the engine's joint targets are off by more than `BOUNDS`.
    """
    folder, library = Path(folder), LIBRARIES[name]
    described, version = _metadata.load(folder), library.load().__version__
    if described.batch not in (None, batch):
        raise DeployError(
            f"{folder} was exported for {described.batch} robots a call", f"Add --batch {described.batch}"
        )
    if described.precision == "int8":
        raise DeployError(f"{folder} is in int8 for CPUs, which {name} does not read", "Export with --precision fp16")
    inputs = _states.load(states, described.inputs, STATES) if states else _states.record(folder, STATES)
    expected = run_batches(open_session(folder, described), inputs, described.batch)[0]
    model = prepared(onnx.load(folder / MODEL_FILE), described, batch)
    serialized, bound = model.SerializeToString(), BOUNDS[described.precision]
    on_cpu = compare(run_batches(_on_cpu(serialized), inputs, batch)[0], expected)
    _refuse(on_cpu, CLOSE if described.precision == "fp32" else bound, "the model prepared for the engine")
    engine = compile_engine(serialized, library)
    digest = hashlib.sha256(engine).hexdigest()
    record = EngineRecord(name, version, described.model_sha256, digest, batch, bound)
    if library.runs_on(gpu()):
        actual = run_batches(EngineSession(engine, library, described, batch), inputs, batch)[0]
        record = replace(record, gpu=gpu(), accuracy=compare(actual, expected))
        _refuse(record.accuracy, bound, f"the {name} engine")
    write_whole(folder / library.file, lambda file: file.write(engine))
    text = json.dumps(asdict(record), indent=2, allow_nan=False) + "\n"
    write_whole(record_path(folder, library), lambda file: file.write(text.encode()))
    return record


def _refuse(found: Accuracy | None, bound: float, what: str) -> None:
    """Raise an error if joint targets are too far from those of the model."""
    if found is not None and not found.max <= bound:
        raise DeployError(
            f"{what} gives joint targets up to {found.max:.2g} rad from the ONNX model's, more than {bound:g}; it is not kept",
            "Export with --precision fp32, or take --provider cuda",
        )


def _on_cpu(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
