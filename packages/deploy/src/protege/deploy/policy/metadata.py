"""The description of an exported policy for the robot's program: `policy.json`, beside `policy.onnx`. Numbers are exact."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeployError
from ..interface import MODALITIES
from .policy_schema import problem, read_json, short
from .rules import SCHEMA_VERSIONS, contradiction

OPTIONAL_KEYS = {"command_ranges", "modalities", "safety", "fall", "camera", "sensors", "imu"}
"""Keys that early exports of this version lack."""
MODEL_FILE, METADATA_FILE, ROBOT_FILE = "policy.onnx", "policy.json", "robot.xml"
EXPORT_AGAIN = "Export the policy again"
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
        frame: `world`, `heading` (yaw only, at the root), `imu` (fixed to it), `joint` (one value per joint), or empty.
        meaning: description.
    """

    name: str
    dtype: str
    shape: list[int]
    unit: str
    frame: str
    meaning: str


@dataclass(frozen=True)
class StartState:
    """A state from the training's motions, to start a simulation from; fields, shapes, units and frames as in `RobotReading`."""

    root_pos_w: list[float]
    root_quat_w: list[float]
    root_lin_vel_w: list[float]
    root_ang_vel_w: list[float]
    joint_pos: list[float]
    joint_vel: list[float]


@dataclass(frozen=True)
class Source:
    """The exported checkpoint: kind, training iteration and samples, SHA-256 of its weights."""

    kind: str
    iteration: int
    samples: int
    weights_sha256: str


@dataclass(frozen=True)
class Accuracy:
    """Difference of the joint targets from those of the same policy in fp32, on states of closed loops.

    Attributes:
        states: number of compared states.
        mean, p99, max: of the absolute difference, over states and joints, rad.
    """

    states: int
    mean: float
    p99: float
    max: float


@dataclass(frozen=True)
class ClosedLoop:
    """Evaluation of this model in simulation, by the rules of `protege distill evaluate`.

    Attributes:
        task: `track`, or the commanded modality.
        simulator: `mujoco`, ...
        episodes: number of episodes.
        success: share of episodes that did not fail; success_ci: its 95 % interval.
        error: mean of the task's metric, null if it was not measured.
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
class Modality:
    """A kind of command.

    Attributes:
        name: `path`, `goal`, ...
        inputs: names of the model's inputs for it; empty if the model does not read it.
    """

    name: str
    inputs: list[str]


@dataclass(frozen=True)
class CommandRange:
    """The range of commands that the policy was trained on.

    Attributes:
        low, high: least and largest command of the training, both included.
        unit: of both.
    """

    low: float
    high: float
    unit: str

    def clamp(self, value: float) -> float:
        """The nearest command within the range."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Fall:
    """The rule for a fall. The defaults apply to exports without this key.

    Attributes:
        root, head: shares of the heights of root and head, standing or in the motion that is tracked.
        head_body: name of the head's body; empty for the highest body.
    """

    root: float = 0.6
    head: float = 0.7
    head_body: str = ""


@dataclass(frozen=True)
class Imu:
    """Mounting of the inertial sensor: name of its body, and its rotation in the body's frame, wxyz."""

    body: str
    quat: list[float]


@dataclass(frozen=True)
class Camera:
    """A camera that sees the whole robot: `distance` from it, looking at `height` over the ground, m. Defaults as for `Fall`."""

    distance: float = 2.9
    height: float = 0.85


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
        action_scale: (J,) rad of target per unit of the policy's output; already applied in the model, for information.
        control_dt: s between two calls of the model.
        physics_dt: s of a simulator's substep.
        inputs, outputs: of the model.
        future_frames: control steps ahead of the target poses, K of them (empty if the model takes none).
        path_times: s ahead of the path's points (empty if the model takes none).
        model_sha256: of `policy.onnx`.
        source: the checkpoint.
        versions: of the packages that exported it.
        precision: of the network inside the model: fp32, fp16 or int8. Inputs and outputs are float32 in each.
        batch: robots per call; None if the model takes any number.
        start: a state to start simulations from; None if the training clips were not available.
        accuracy: against fp32; None for fp32 itself.
        closed_loop: evaluation in simulation, one entry per task; empty until `scripts/evaluate_export.py` has measured them.
        command_ranges: the training's ranges by kind of command; empty if the export lacks them.
        modalities: the columns of `command_mask`.
        safety: fields of `safety.limits.Limits` from the robot's file; a value None switches the check off.
        fall: the rule for a fall.
        camera: for pictures of the robot.
        sensors: the policy's measurements: `full_state`, or `onboard`.
        imu: the inertial sensor of a policy with onboard sensors.
    """

    robot: str
    joint_names: list[str]
    body_names: list[str]
    stiffness: list[float]
    damping: list[float]
    effort_limit: list[float]
    default_joint_pos: list[float]
    joint_range: list[list[float]]
    action_scale: list[float]
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
    command_ranges: dict[str, CommandRange] = field(default_factory=dict)
    modalities: list[Modality] = field(default_factory=list)
    safety: dict[str, float | None] = field(default_factory=dict)
    fall: Fall = Fall()
    camera: Camera = Camera()
    sensors: str = "full_state"
    imu: Imu | None = None
    schema_version: int = SCHEMA_VERSIONS["full_state"]

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
        """Write `policy.json`. Floats are exact: JSON holds their shortest exact decimal form."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False)
        (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path) -> Metadata:
    """Read and check `policy.json` and that `policy.onnx` is the model that it describes.

    Raises:
        DeployError: the file is missing, not JSON, of another schema, inconsistent, or of another model.
    """
    path, model = Path(folder) / METADATA_FILE, Path(folder) / MODEL_FILE
    for file in (path, model):
        if not file.is_file():
            raise DeployError(f"{file} does not exist", "Export the policy: protege-deploy export --checkpoint RUN")
    try:
        data = read_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeployError(f"{path} is not JSON ({error})", EXPORT_AGAIN) from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    known = SCHEMA_VERSIONS.values()
    if type(version) is not int or version not in known:
        newer = type(version) is int and version > max(known)
        raise DeployError(
            f"{path} has schema version {short(version)}, this is {max(known)}",
            "Update protege-deploy, or export with its version" if newer else EXPORT_AGAIN,
        )
    wrong = problem(data)
    if wrong is not None:
        raise DeployError(f"{path}: {wrong}", EXPORT_AGAIN)
    metadata = _parse(data)
    wrong = contradiction(metadata)
    if wrong is not None:
        raise DeployError(f"{path}: {wrong}", EXPORT_AGAIN)
    if file_sha256(model) != metadata.model_sha256:
        raise DeployError(f"{model} is not the model that {METADATA_FILE} describes", EXPORT_AGAIN)
    return metadata


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _parse(data: dict[str, Any]) -> Metadata:
    """Parse data that is valid by `policy.schema.json`. The first exports have three modalities but do not list them."""
    inputs = [spec["name"] for spec in data["inputs"]]
    usual = [{"name": x, "inputs": [y for y in names if y in inputs]} for x, names in MODALITIES.items()]
    modalities = data.get("modalities", usual if "command_mask" in inputs else [])
    scale = data["action_scale"]  # one number for all joints in the first exports
    nested = {
        "inputs": [TensorSpec(**spec) for spec in data["inputs"]],
        "outputs": [TensorSpec(**spec) for spec in data["outputs"]],
        "source": Source(**data["source"]),
        "start": None if data["start"] is None else StartState(**data["start"]),
        "accuracy": None if data["accuracy"] is None else Accuracy(**data["accuracy"]),
        "closed_loop": [ClosedLoop(**entry) for entry in data["closed_loop"]],
        "command_ranges": {name: CommandRange(**x) for name, x in data.get("command_ranges", {}).items()},
        "modalities": [Modality(**x) for x in modalities],
        "fall": Fall(**data.get("fall", {})),
        "camera": Camera(**data.get("camera", {})),
        "imu": None if data.get("imu") is None else Imu(**data["imu"]),
        "action_scale": scale if isinstance(scale, list) else [scale] * len(data["joint_names"]),
    }
    return Metadata(**{**data, **nested})
