"""Exports a policy to an ONNX file. Needs torch and core."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path

import onnx
import torch
from torch import Tensor

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.motions import MotionLibrary
from protege.core.plugins import entry_points
from protege.core.robots.robot import Robot
from protege.core.runs.checkpoint import installed_versions
from protege.core.runs.clip_selection import some_clips
from protege.core.runs.load_policy import LoadedPolicy, load_policy
from protege.core.runs.resuming import weights_digest

from .. import __version__
from ..errors import DeployError
from ..files import writing
from ..policy.metadata import (
    METADATA_FILE,
    MODEL_FILE,
    PRECISIONS,
    ROBOT_FILE,
    Camera,
    Fall,
    Imu,
    Metadata,
    Modality,
    Source,
    StartState,
    TensorSpec,
    file_sha256,
)
from ..policy.properties import PROPERTY_STYLES, properties
from ..policy.rules import SCHEMA_VERSIONS
from ..policy.session import BATCH_DIMENSION, open_session
from . import states as _states
from .graph import StudentGraph
from .modalities import trained_ranges
from .precision import to_fp16, to_int8, with_fixed_batch
from .states import MAX_DIFFERENCE, compare, run_batches
from .urdf import urdf

OPSET = 17
PATH_STEP = 0.5  # s between the points of a path (docs/architecture.md)
WALKING_SPEED = 1.2  # m/s; the clip nearest to it gives the start state
MEASURED_STATES = 2000


@dataclass(frozen=True)
class Variant:
    """The variant of the model to export.

    Attributes:
        precision: of the network: fp32, fp16 or int8.
        batch: robots per call; None for any number.
        style: of the properties inside the file, see `properties`.
        states: .npz file of states for measuring the precision and calibrating int8; None to record them.
    """

    precision: str = "fp32"
    batch: int | None = None
    style: str = "csv"
    states: str | Path | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("precision", self.precision, PRECISIONS), ("style", self.style, PROPERTY_STYLES)):
            if value not in known:
                raise DeployError(f"unknown {name} {value!r}", f"Choose among {', '.join(known)}")


MakeProperties = Callable[[Metadata], dict[str, str]]
"""Metadata -> the model's own metadata properties, in an export's style and with its run and URDF."""


def export(checkpoint: str | Path, output: str | Path, variant: Variant = Variant()) -> Path:
    """Export a policy.

    Args:
        checkpoint: run folder, checkpoint or release.
        output: folder, written atomically; an earlier export in it is replaced.
        variant: precision, batch and property style.

    Returns:
        the folder: `policy.onnx`, `policy.json` and, if a package offers the robot's model, `robot.xml`.

    Raises:
        DeployError: the checkpoint or robot does not exist, the folder cannot be written, or the precision is too low.
    """
    loaded, graph, robot = load_graph(checkpoint)
    output = Path(output)
    if output.exists() and not _is_replaceable(output):
        raise DeployError(f"{output} exists and is not an export", "Choose another --output")
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
        try:
            _write_files(temporary, loaded, graph, robot, variant)
            temporary.chmod(0o755)
            old = temporary.with_suffix(".old")
            if output.exists():
                os.replace(output, old)
            os.replace(temporary, output)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return output


def load_graph(checkpoint: str | Path) -> tuple[LoadedPolicy, StudentGraph, Robot]:
    """A checkpoint's policy, its graph, and its robot.

    Raises:
        DeployError: missing, damaged, or for a robot that is not installed or has other joints.
    """
    try:
        loaded = load_policy(checkpoint)
        robot = _robot(loaded)
    except UserError as error:
        raise DeployError(error.problem, error.remedy) from error
    if list(robot.joint_names) != loaded.checkpoint.joint_names:
        raise DeployError(
            f"{checkpoint} drives a {robot.name} with other joints", "Train it again, or install its version"
        )
    return loaded, StudentGraph(loaded.policy, loaded.obs_shapes, robot).eval(), robot


def _robot(loaded: LoadedPolicy) -> Robot:
    """The robot that a policy was trained with, or the installed one if the checkpoint does not describe it.

    Safety limits do not affect the policy: if the checkpoint lacks them, they come from the installed robot.
    """
    described = loaded.checkpoint.described_robot()
    if described is not None and "safety" in loaded.checkpoint.description:
        return described
    try:
        installed = env_plugin().robot(loaded.robot)
    except UserError:
        if described is None:
            raise
        return described
    return replace(described, safety=installed.safety) if described else installed


def trace(graph: StudentGraph) -> onnx.ModelProto:
    """The graph as ONNX, with a free batch dimension.

    The TorchScript exporter traces this graph in half a second; the newer one (`dynamo=True`) takes half a minute, unrolls
    the kinematics into 1000 nodes more, and the outcome is no more exact and 8 % slower.
    """
    names, outputs = [spec.name for spec in graph.specs], [spec.name for spec in graph.outputs]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is old, and the robot's tree becomes constants: both as intended
        torch.onnx.export(
            graph,
            tuple(example(spec, 2) for spec in graph.specs),
            str(Path(folder) / MODEL_FILE),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: BATCH_DIMENSION} for name in (*names, *outputs)},
        )
        return with_named_constants(onnx.load(Path(folder) / MODEL_FILE))


def with_named_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, changed in place: the values of `Constant` nodes become initializers, each value once."""
    graph, known, names = model.graph, {}, {}
    constants = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    for node in constants:
        value = node.attribute[0].t
        key = (value.data_type, tuple(value.dims), onnx.numpy_helper.to_array(value).tobytes())
        if key not in known:
            known[key] = value.name = node.output[0]
            graph.initializer.append(value)
        names[node.output[0]] = known[key]
        graph.node.remove(node)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    return model


def example(spec: TensorSpec, n: int) -> Tensor:
    """Zeros, or identity rotations, for an input, (n, ...)."""
    zeros = torch.zeros(n, *spec.shape, dtype=getattr(torch, spec.dtype))
    if spec.name.endswith(("quat", "quat_w", "quat_h")):
        zeros[..., 0] = 1.0
    return zeros


def weights_sha256(loaded: LoadedPolicy) -> str:
    """SHA-256 of the policy's weights, which `policy.json` records to identify the checkpoint.

    The checkpoint's own weights are hashed, because a release without a critic gets a random one each time that it is loaded.
    """
    return weights_digest(loaded.checkpoint.model, shapes=False)


def _write_files(folder: Path, loaded: LoadedPolicy, graph: StudentGraph, robot: Robot, variant: Variant) -> None:
    """Write all files of an export. The fp32 model comes first: the others are calibrated and measured in its closed loop."""
    described = _describe(loaded, graph, robot)
    run, model = loaded.config.get("run", {}).get("experiment_name", ""), trace(graph)
    for entry in entry_points(group="protege.models"):
        (folder / ROBOT_FILE).write_text(entry.load()(robot))
    make_properties = partial(properties, style=variant.style, run=run, urdf=urdf(robot))
    _save_model(folder, model, described, make_properties)
    if variant.precision != "fp32":
        model, described = _converted(folder, model, described, variant, make_properties)
    if variant.batch is not None:
        model, described = (
            with_fixed_batch(model, BATCH_DIMENSION, variant.batch),
            replace(described, batch=variant.batch),
        )
    _save_model(folder, model, described, make_properties)


def _converted(
    folder: Path, model: onnx.ModelProto, described: Metadata, variant: Variant, make_properties: MakeProperties
) -> tuple[onnx.ModelProto, Metadata]:
    """The model in another precision, and its metadata with the difference from the model in the folder.

    Raises:
        DeployError: the difference is too large.
    """
    given = variant.states
    states = _states.load(given, described.inputs) if given else _states.record(folder, MEASURED_STATES)
    expected = run_batches(open_session(folder, described), states)[0]
    converted = to_fp16(model) if variant.precision == "fp16" else to_int8(model, states)
    described = replace(described, precision=variant.precision)
    with tempfile.TemporaryDirectory() as other:
        described = _save_model(Path(other), converted, described, make_properties)
        actual = run_batches(open_session(other, described), states)[0]
    accuracy, bound = compare(actual, expected), MAX_DIFFERENCE[variant.precision]
    if not accuracy.max <= bound:
        raise DeployError(
            f"in {variant.precision} joint targets are off by up to {accuracy.max:.2g} rad, more than {bound:g}",
            "Export with --precision fp32" + (", or fp16" if variant.precision == "int8" else ""),
        )
    return converted, replace(described, accuracy=accuracy)


def _save_model(folder: Path, model: onnx.ModelProto, described: Metadata, make_properties: MakeProperties) -> Metadata:
    """Write model and metadata with matching properties and checksum; returns the metadata with the model's checksum."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, make_properties(described))
    onnx.save(model, folder / MODEL_FILE)
    sealed = replace(described, model_sha256=file_sha256(folder / MODEL_FILE))
    sealed.save(folder)
    return sealed


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / METADATA_FILE).is_file() or not any(folder.iterdir()))


def _describe(loaded: LoadedPolicy, graph: StudentGraph, robot: Robot) -> Metadata:
    """The contents of `policy.json` without the model's checksum."""
    names, saved = {spec.name for spec in graph.specs}, loaded.checkpoint
    env = loaded.config.get("env", {})
    frames = env.get("future_frames", []) if names & {"target_body_pos_w", "target_body_pos_h"} else []
    points = loaded.obs_shapes["path"][0] if names & {"path_w", "path_h"} else 0
    imu, sensors = robot.groups.imu, loaded.policy.sensors
    return Metadata(
        robot=robot.name,
        joint_names=list(robot.joint_names),
        body_names=list(robot.body_names),
        stiffness=[joint.stiffness for joint in robot.joints],
        damping=[joint.damping for joint in robot.joints],
        effort_limit=[joint.effort_limit for joint in robot.joints],
        default_joint_pos=list(robot.default_joint_pos),
        joint_range=[list(joint.range) for joint in robot.joints],
        action_scale=[joint.action_scale for joint in robot.joints],
        control_dt=robot.control_dt,
        physics_dt=robot.physics_dt,
        inputs=graph.specs,
        outputs=graph.outputs,
        future_frames=list(frames),
        path_times=[PATH_STEP * (k + 1) for k in range(points)],
        model_sha256="",
        source=Source(loaded.kind, saved.iteration, saved.samples, weights_sha256(loaded)),
        versions={"protege-deploy": __version__, **installed_versions()},
        start=_start_state(loaded, robot),
        command_ranges=trained_ranges(env, [name for name, specs in graph.modalities.items() if specs]),
        modalities=[
            Modality(name, [x.name for x in graph.exported(specs)]) for name, specs in graph.modalities.items()
        ],
        safety=asdict(robot.safety),
        fall=Fall(robot.fallen_root, robot.fallen_head, robot.head),
        camera=Camera(robot.camera.distance, robot.camera.height),
        sensors=sensors,
        imu=Imu(imu.body, list(imu.quat)) if graph.onboard else None,
        schema_version=SCHEMA_VERSIONS[sensors],
    )


def _start_state(loaded: LoadedPolicy, robot: Robot) -> StartState | None:
    """The first frame of the training clip whose speed is nearest to a walk; None if the clips are not available."""
    try:
        clips = some_clips(loaded.config.get("run", {}).get("motion_file", []), robot)
    except UserError:
        return None
    clip = min(clips, key=lambda clip: abs(clip.mean_speed - WALKING_SPEED))
    state = MotionLibrary([clip], robot, "cpu").frames(torch.zeros(1, dtype=torch.long), torch.zeros(1))[0]
    return StartState(**{name: getattr(state, name).tolist() for name in (f.name for f in fields(StartState))})
