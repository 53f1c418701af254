"""A policy as one graph from raw measurements to joint targets, and its way into an ONNX file. Needs torch and core."""

import hashlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.metadata import entry_points
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from protege.core import observations
from protege.core import rotation as R
from protege.core.checkpoint import installed_versions
from protege.core.env import Obs, env_plugin
from protege.core.errors import UserError
from protege.core.experiments import LoadedPolicy, Policy, load_policy
from protege.core.kinematics import Kinematics
from protege.core.masked_mimic import PRIOR_TOKENS, MaskedMimic
from protege.core.motion import MotionLibrary, load_clips
from protege.core.robot import Robot
from protege.core.state import RobotState

from . import __version__
from .errors import DeployError
from .interface import MODALITIES
from .metadata import METADATA_FILE, MODEL_FILE, ROBOT_FILE, Metadata, Source, StartState, TensorSpec, file_sha256
from .session import BATCH, names_inside
from .tensors import REFERENCE, input_specs, output_specs

OPSET = 17
ACTION_SCALE = 1.0
PATH_STEP = 0.5  # s between the points of a path (docs/architecture.md)
WALKING_SPEED = 1.2  # m/s; the clip nearest to it gives the start state


class StudentGraph(nn.Module):
    """Raw inputs -> joint targets: kinematics, core's observations, the policy's mean action, the default pose.

    The inputs are those of `specs`, in this order, batched; a modality that is not commanded may hold anything finite.
    Returns joint_target (N, J) rad and, if the policy reads a history, next_history (N, H, P).

    Args:
        policy: of any kind; only what acts gets into the graph.
        obs_shapes: the observations that it was built for.
        robot: what it drives.
    """

    default_joint_pos: Tensor

    def __init__(self, policy: Policy, obs_shapes: Mapping[str, list[int]], robot: Robot) -> None:
        super().__init__()
        tokens = PRIOR_TOKENS if isinstance(policy, MaskedMimic) else policy.actor_tokens
        reference = [name for name in REFERENCE if name in policy.obs_keys]
        self.policy, self.kinematics = policy, Kinematics(robot)
        self.specs = input_specs(tokens, obs_shapes, robot.num_bodies, robot.num_joints, reference=reference)
        self.outputs = output_specs(self.specs, robot.num_joints)
        self.register_buffer("default_joint_pos", robot.default_pose())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = {spec.name: tensor for spec, tensor in zip(self.specs, inputs, strict=True)}
        obs = self.observe(given)
        mean, _ = self.policy.distribution(obs)
        target = self.default_joint_pos + ACTION_SCALE * mean
        if "history" not in given:
            return (target,)
        return target, torch.cat([obs["proprioception"].unsqueeze(1), obs["history"][:, :-1]], dim=1)

    def observe(self, given: Mapping[str, Tensor]) -> Obs:
        """The policy's observations, (N, ...) each, of inputs by name (N, ...), by the environment's own functions."""
        state = self.state(given)
        obs = {"proprioception": observations.proprioception(state)}
        if "history" in given:
            begins = given["reset"][:, None, None]
            obs["history"] = torch.where(begins, obs["proprioception"].unsqueeze(1), given["history"])
        if "command_mask" in given:
            obs |= self._commands(state, given)
        if "target_body_pos_w" in given:
            obs["poses"] = observations.poses(state, given["target_body_pos_w"], given["target_body_quat_w"])
        return obs | {name: given[name] for name in ("pose_mask", *REFERENCE) if name in given}

    def state(self, given: Mapping[str, Tensor]) -> RobotState:
        """The robot's state; of the velocities only the root's, no observation takes the others."""
        quat = R.normalize(given["root_quat_w"])
        body_pos_w, body_quat_w = self.kinematics(given["root_pos_w"], quat, given["joint_pos"])
        return RobotState(
            joint_pos=given["joint_pos"],
            joint_vel=given["joint_vel"],
            body_pos_w=body_pos_w,
            body_quat_w=body_quat_w,
            body_lin_vel_w=given["root_lin_vel_w"].unsqueeze(1),
            body_ang_vel_w=given["root_ang_vel_w"].unsqueeze(1),
        )

    @staticmethod
    def _commands(state: RobotState, given: Mapping[str, Tensor]) -> Obs:
        """path, goal and steering, zero where they are not commanded, and the mask."""
        values: Obs = {}
        if "path_w" in given:
            values["path"] = observations.path(state, given["path_w"])
        if "goal_w" in given:
            values["goal"] = observations.goal(state, given["goal_w"], given["goal_time_left"])
        if "steering_speed" in given:
            direction, speed = given["steering_direction_w"], given["steering_speed"]
            values["steering"] = observations.steering(state, direction, speed, given.get("steering_facing_w"))
        mask = given["command_mask"]
        for column, name in enumerate(MODALITIES):
            if name in values:
                shown = mask[:, column].reshape(-1, *[1] * (values[name].ndim - 1))
                values[name] = torch.where(shown, values[name], torch.zeros_like(values[name]))
        return values | {"command_mask": mask}


def export(checkpoint: str | Path, output: str | Path) -> Path:
    """Export a policy.

    Args:
        checkpoint: run folder, checkpoint or release.
        output: folder; an earlier export in it is replaced. It appears whole or not at all.

    Returns:
        the folder: `policy.onnx`, `policy.json` and, where a package offers the robot's model, `robot.xml`.

    Raises:
        DeployError: no such checkpoint or robot, or a folder that cannot be written.
    """
    loaded, graph, robot = load_graph(checkpoint)
    output = Path(output)
    if output.exists() and not _is_replaceable(output):
        raise DeployError(f"{output} exists and is not an export", "Choose another --output")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}."))
    except OSError as error:
        raise DeployError(f"cannot write {output} ({error.strerror})", "Choose another --output") from error
    try:
        described = _describe(loaded, graph, robot)
        write_onnx(graph, temporary / MODEL_FILE, names_inside(described))
        replace(described, model_sha256=file_sha256(temporary / MODEL_FILE)).save(temporary)
        for entry in entry_points(group="protege.models"):
            (temporary / ROBOT_FILE).write_text(entry.load()(robot.name))
        temporary.chmod(0o755)
        old = temporary.with_suffix(".old")
        if output.exists():
            os.replace(output, old)
        os.replace(temporary, output)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise DeployError(f"cannot write {output} ({error.strerror})", "Is the disk full?") from error
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
        robot = env_plugin().robot(loaded.robot)
    except UserError as error:
        raise DeployError(error.problem, error.remedy) from error
    if list(robot.joint_names) != loaded.checkpoint.joint_names:
        raise DeployError(
            f"{checkpoint} drives a {robot.name} with other joints", "Train it again, or install its version"
        )
    return loaded, StudentGraph(loaded.policy, loaded.obs_shapes, robot).eval(), robot


def write_onnx(graph: StudentGraph, path: Path, facts: Mapping[str, str]) -> None:
    """Write the graph with a free batch dimension, and facts (names and their values) that travel within the file.

    The TorchScript exporter traces this graph in half a second; the newer one (`dynamo=True`) takes half a minute, unrolls
    the kinematics into 1000 nodes more, and the outcome is no more exact and 8 % slower.
    """
    names, outputs = [spec.name for spec in graph.specs], [spec.name for spec in graph.outputs]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter is old, and the robot's tree becomes constants: both as intended
        torch.onnx.export(
            graph,
            tuple(example(spec, 2) for spec in graph.specs),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=outputs,
            dynamic_axes={name: {0: BATCH} for name in (*names, *outputs)},
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, dict(facts))
    onnx.save(model, path)


def example(spec: TensorSpec, n: int) -> Tensor:
    """Zeros (or no rotation) for an input, (n, ...)."""
    zeros = torch.zeros(n, *spec.shape, dtype=getattr(torch, spec.dtype))
    if spec.name.endswith("quat_w"):
        zeros[..., 0] = 1.0
    return zeros


def weights_sha256(policy: Policy) -> str:
    """Of all tensors, by name: whether two checkpoints hold the same policy."""
    digest = hashlib.sha256()
    for name, tensor in sorted(policy.state_dict().items()):
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / METADATA_FILE).is_file() or not any(folder.iterdir()))


def _describe(loaded: LoadedPolicy, graph: StudentGraph, robot: Robot) -> Metadata:
    """All of `policy.json` but the model's checksum."""
    names, saved = {spec.name for spec in graph.specs}, loaded.checkpoint
    frames = loaded.config.get("env", {}).get("future_frames", []) if "target_body_pos_w" in names else []
    points = loaded.obs_shapes["path"][0] if "path_w" in names else 0
    return Metadata(
        robot=robot.name,
        joint_names=list(robot.joint_names),
        body_names=list(robot.body_names),
        stiffness=[joint.stiffness for joint in robot.joints],
        damping=[joint.damping for joint in robot.joints],
        effort_limit=[joint.effort_limit for joint in robot.joints],
        default_joint_pos=list(robot.default_joint_pos),
        joint_range=[list(joint.range) for joint in robot.joints],
        action_scale=ACTION_SCALE,
        control_dt=robot.control_dt,
        physics_dt=robot.physics_dt,
        inputs=graph.specs,
        outputs=graph.outputs,
        future_frames=list(frames),
        path_times=[PATH_STEP * (k + 1) for k in range(points)],
        model_sha256="",
        source=Source(loaded.kind, saved.iteration, saved.samples, weights_sha256(loaded.policy)),
        versions={"protege-deploy": __version__, **installed_versions()},
        start=_start_state(loaded, robot),
    )


def _start_state(loaded: LoadedPolicy, robot: Robot) -> StartState | None:
    """The first frame of the training clip that is nearest to a walk; None if the clips are not at hand."""
    try:
        clips = load_clips(loaded.config.get("run", {}).get("motion_file", []), robot)
    except UserError:
        return None
    clip = min(clips, key=lambda clip: abs(clip.mean_speed - WALKING_SPEED))
    state = MotionLibrary([clip], robot, "cpu").frames(torch.zeros(1, dtype=torch.long), torch.zeros(1))[0]
    return StartState(**{name: getattr(state, name).tolist() for name in (f.name for f in fields(StartState))})
