"""What a robot's program must know about an exported policy: `policy.json`, beside `policy.onnx`. Numbers are exact."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DeployError

SCHEMA_VERSION = 2
MODEL_FILE, METADATA_FILE, ROBOT_FILE = "policy.onnx", "policy.json", "robot.xml"
SCHEMA_FILE = Path(__file__).with_name("policy.schema.json")
"""JSON schema (2020-12) of `policy.json`, for other programs; this one checks by itself."""
PRECISIONS = ("fp32", "fp16", "int8")
DTYPES = {"float32": np.dtype(np.float32), "bool": np.dtype(np.bool_)}


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of the model.

    Attributes:
        name: in the ONNX graph.
        dtype: `float32` or `bool`.
        shape: without the leading batch dimension.
        unit: `m`, `rad`, ...; `1` for a pure number.
        frame: `world`, `heading` (yaw only, at the root), `joint` (one number a joint), or empty.
        meaning: in words.
    """

    name: str
    dtype: str
    shape: list[int]
    unit: str
    frame: str
    meaning: str


@dataclass(frozen=True)
class StartState:
    """A state that the policy knows well, to start a simulation from; fields, shapes, units and frames of `RobotReading`."""

    root_pos_w: list[float]
    root_quat_w: list[float]
    root_lin_vel_w: list[float]
    root_ang_vel_w: list[float]
    joint_pos: list[float]
    joint_vel: list[float]


@dataclass(frozen=True)
class Source:
    """Which checkpoint this is: kind, training iteration and samples, SHA-256 of its weights."""

    kind: str
    iteration: int
    samples: int
    weights_sha256: str


@dataclass(frozen=True)
class Accuracy:
    """How far the joint targets are from those of the same policy in fp32, on states of closed loops.

    Attributes:
        states: how many were compared.
        mean, p99, max: of the absolute difference, over states and joints, rad.
    """

    states: int
    mean: float
    p99: float
    max: float


@dataclass(frozen=True)
class ClosedLoop:
    """What this very model achieved in simulation, by the rules of `protege distill evaluate`.

    Attributes:
        task: `path`, `goal`, `steering` or `track`.
        simulator: `mujoco`, ...
        episodes: played.
        success: share that did not fail; success_ci its 95 % interval.
        error: mean of the task's metric, null if it was never measured.
        error_name, error_unit: of that metric.
    """

    task: str
    simulator: str
    episodes: int
    success: float
    success_ci: list[float]
    error: float | None
    error_name: str
    error_unit: str


@dataclass(frozen=True)
class Metadata:
    """Everything in `policy.json`. Lists of joints and bodies are in the order of the model's tensors.

    Attributes:
        schema_version: of this file.
        robot: name.
        joint_names, body_names: J and B names.
        stiffness, damping: (J,) gains of the position servos, N·m/rad and N·m·s/rad.
        effort_limit: (J,) N·m.
        default_joint_pos: (J,) rad; already added to the model's output.
        joint_range: (J, 2) rad.
        action_scale: of the policy's output; inside the model, for information.
        control_dt: s between two calls of the model.
        physics_dt: s of a simulator's substep.
        inputs, outputs: of the model.
        future_frames: control steps ahead of the target poses, K of them (empty if the model takes none).
        path_times: s ahead of the path's points (empty if the model takes none).
        model_sha256: of `policy.onnx`.
        source: the checkpoint.
        versions: of the packages that exported it.
        precision: of the network inside the model: fp32, fp16 or int8. Inputs and outputs are float32 in each.
        batch: robots a call; None if the model takes any number.
        start: a state to start simulations from, if the training clips were at hand.
        accuracy: against fp32; None for fp32 itself.
        closed_loop: successes in simulation, one entry a task; empty until `scripts/evaluate_export.py` has measured them.
    """

    robot: str
    joint_names: list[str]
    body_names: list[str]
    stiffness: list[float]
    damping: list[float]
    effort_limit: list[float]
    default_joint_pos: list[float]
    joint_range: list[list[float]]
    action_scale: float
    control_dt: float
    physics_dt: float
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    future_frames: list[int]
    path_times: list[float]
    model_sha256: str
    source: Source
    precision: str = "fp32"
    batch: int | None = None
    versions: dict[str, str] = field(default_factory=dict)
    start: StartState | None = None
    accuracy: Accuracy | None = None
    closed_loop: list[ClosedLoop] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    @property
    def num_joints(self) -> int:
        return len(self.joint_names)

    @property
    def substeps(self) -> int:
        """Physics steps between two calls of the model."""
        return round(self.control_dt / self.physics_dt)

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, if the model has it."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def save(self, folder: Path) -> None:
        """Write `policy.json`. Python's floats survive: JSON holds their shortest exact decimal form."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path) -> Metadata:
    """Read and check `policy.json` and that `policy.onnx` is the model that it describes.

    Raises:
        DeployError: missing, not JSON, of another schema, inconsistent, or of another model.
    """
    path, model = Path(folder) / METADATA_FILE, Path(folder) / MODEL_FILE
    for file in (path, model):
        if not file.is_file():
            raise DeployError(f"{file} does not exist", "Export the policy: protege-deploy export --checkpoint RUN")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeployError(f"{path} is not JSON ({error})", "Export the policy again") from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        newer = isinstance(version, int) and version > SCHEMA_VERSION
        raise DeployError(
            f"{path} has schema version {version}, this is {SCHEMA_VERSION}",
            "Update protege-deploy, or export with its version" if newer else "Export the policy again",
        )
    try:
        metadata = _parse(data)
        _check(metadata)
    except (TypeError, KeyError, ValueError) as error:
        raise DeployError(f"{path}: {_words(error)}", "Export the policy again") from error
    if file_sha256(model) != metadata.model_sha256:
        raise DeployError(f"{model} is not the model that {METADATA_FILE} describes", "Export the policy again")
    return metadata


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse(data: dict[str, Any]) -> Metadata:
    expected, given = {f.name for f in fields(Metadata)}, set(data)
    if expected != given:
        raise ValueError(f"the keys {sorted(expected ^ given)} are missing or unknown")
    nested = {
        "inputs": [TensorSpec(**spec) for spec in data["inputs"]],
        "outputs": [TensorSpec(**spec) for spec in data["outputs"]],
        "source": Source(**data["source"]),
        "start": None if data["start"] is None else StartState(**data["start"]),
        "accuracy": None if data["accuracy"] is None else Accuracy(**data["accuracy"]),
        "closed_loop": [ClosedLoop(**entry) for entry in data["closed_loop"]],
    }
    return Metadata(**{**data, **nested})


def _check(metadata: Metadata) -> None:
    """The rules that keys cannot say."""
    joints, start = metadata.num_joints, metadata.start
    rows: dict[str, tuple[list, tuple[int, ...]]] = {
        name: (getattr(metadata, name), (joints,)) for name in ("stiffness", "damping", "effort_limit")
    }
    rows["default_joint_pos"] = (metadata.default_joint_pos, (joints,))
    rows["joint_range"] = (metadata.joint_range, (joints, 2))
    if start is not None:
        sizes = {"root_quat_w": 4, "joint_pos": joints, "joint_vel": joints}
        rows |= {f"start.{f.name}": (getattr(start, f.name), (sizes.get(f.name, 3),)) for f in fields(start)}
    for name, (values, shape) in rows.items():
        numbers = np.asarray(values, dtype=np.float64)
        if numbers.shape != shape or not np.isfinite(numbers).all():
            raise ValueError(f"{name} must be finite numbers of shape {shape}, not {numbers.shape}")
    for name in ("control_dt", "physics_dt", "action_scale"):
        value = getattr(metadata, name)
        if not isinstance(value, float) or not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} must be a positive number, not {value!r}")
    if metadata.precision not in PRECISIONS:
        raise ValueError(f"precision is {metadata.precision!r}, not one of {', '.join(PRECISIONS)}")
    if not (metadata.batch is None or (type(metadata.batch) is int and metadata.batch > 0)):
        raise ValueError(f"batch must be null or a positive integer, not {metadata.batch!r}")
    for name in ("joint_names", "body_names"):
        if len(set(getattr(metadata, name))) != len(getattr(metadata, name)):
            raise ValueError(f"{name} holds a name twice")
    for spec in (*metadata.inputs, *metadata.outputs):
        if spec.dtype not in DTYPES:
            raise ValueError(f"{spec.name} has dtype {spec.dtype!r}, not one of {', '.join(DTYPES)}")


def _words(error: BaseException) -> str:
    return f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
