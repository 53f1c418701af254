"""Compares two recorded runs, or a policy's targets with the recorded ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from ..errors import DeployError
from ..geometry import Array, turned, turned_quat, yaw
from ..interface import MEASURED_FIELDS, MODALITIES, POSITION_FIELDS, Command, RobotReading
from ..policy.onnx_policy import OnnxPolicy
from .recording import Recording


@dataclass(frozen=True)
class Difference:
    """The difference between two runs, or two series of joint targets, over the steps that both have.

    Attributes:
        steps: number of compared steps.
        first_step: the first in which joint targets differ by more than the tolerance; None if none does.
        first_joint: the joint with the largest difference there.
        mean_target, max_target: difference of the joint targets, rad.
        mean_root, max_root: difference of the root's path, m; None if it is not compared.
    """

    steps: int
    first_step: int | None
    first_joint: str | None
    mean_target: float
    max_target: float
    mean_root: float | None = None
    max_root: float | None = None


def replay(policy: OnnxPolicy, recording: Recording, tolerance: float) -> Difference:
    """Give a policy the readings and commands of a run again. Its history is its own.

    Args:
        policy: that of the run, or another that takes its commands.
        recording: the run; only the steps before the robot damped are used.
        tolerance: rad.

    Raises:
        DeployError: the policy has other joints or does not take the commands, or the recording has no step of a policy.
    """
    run, names = recording.columns, policy.metadata.joint_names
    if not recording.policy_steps:
        raise DeployError(f"{recording.path}: the policy did not act in any step", "Record another run")
    if run["joint_pos"].shape[1] != len(names):
        joints = f"{run['joint_pos'].shape[1]} joints, the policy drives {len(names)}"
        raise DeployError(f"{recording.path} is of a robot with {joints}")
    policy.reset()
    readings = [_reading(run, step) for step in range(recording.policy_steps)]
    modalities = recording.facts.get("modalities", MODALITIES if "command_mask" in run else {})
    commands = [_command(run, step, modalities) for step in range(recording.policy_steps)]
    answers = np.array([policy.act(*both) for both in zip(readings, commands, strict=True)])
    return _difference(answers, run["joint_target"], recording.policy_steps, names, tolerance)


def compare(first: Recording, second: Recording, tolerance: float) -> Difference:
    """Compare two runs of one robot step by step: written targets and the root's path.

    Raises:
        DeployError: the robots have other joints.
    """
    names = first.facts["joint_names"]
    if names != second.facts["joint_names"]:
        problem = f"{first.path} and {second.path} are of robots with other joints"
        raise DeployError(problem, "Compare runs of one robot")
    steps = min(first.steps, second.steps)
    targets = [run.columns["written_target"] for run in (first, second)]
    roots = [run.columns["root_pos_w"][:steps].astype(np.float64) for run in (first, second)]
    apart = np.linalg.norm(roots[0] - roots[1], axis=1)
    found = _difference(targets[0], targets[1], steps, names, tolerance)
    if not np.isfinite(apart).all():  # the robot did not measure its position
        return found
    return Difference(**{**vars(found), "mean_root": float(apart.mean()), "max_root": float(apart.max())})


def _reading(run: dict[str, Array], step: int) -> RobotReading:
    """The reading of a step of a run."""
    values = {name: run[name][step] for name in (*MEASURED_FIELDS, "imu_quat", "imu_ang_vel") if name in run}
    unknown = {name: None for name in POSITION_FIELDS if np.isnan(values[name]).all()}
    return RobotReading(**{**values, **unknown})


def _command(run: dict[str, Array], step: int, modalities: Mapping[str, Sequence[str]]) -> Command:
    """The command of a step of a run. modalities: the inputs of each column of its command mask."""
    values = {f.name: run[f.name][step] for f in fields(Command) if f.name in run}
    # A modality that the mask excludes was not commanded: its columns hold blanks.
    mask = run["command_mask"][step] if "command_mask" in run else []
    shown = {name: inputs for (name, inputs), commanded in zip(modalities.items(), mask, strict=True) if commanded}
    hidden = {x for name, inputs in modalities.items() if name not in shown for x in inputs}
    if "target_body_pos_h" in run:  # recorded in the heading frame
        heading = yaw(run["root_quat_w"][step])
        pos, quat = run["target_body_pos_h"][step], run["target_body_quat_h"][step]
        pos = np.concatenate([turned(pos[..., :2], heading), pos[..., 2:]], axis=-1)
        values |= {"target_body_pos_w": pos, "target_body_quat_w": turned_quat(quat, heading)}
    if "pose_mask" in values and not values["pose_mask"].any():
        hidden |= {"target_body_pos_w", "target_body_quat_w", "pose_mask"}
    raw = {
        name: {x: run[x][step] for x in inputs}
        for name, inputs in shown.items()
        if name not in MODALITIES or not set(inputs) <= set(values)
    }
    return Command(**{name: value for name, value in values.items() if name not in hidden}, raw=raw)


def _difference(a: Array, b: Array, steps: int, names: list[str], tolerance: float) -> Difference:
    """Difference of targets (T, J) rad over the first `steps` steps; a value that is not finite differs by infinity."""
    apart = np.abs(a[:steps].astype(np.float64) - b[:steps].astype(np.float64))
    apart = np.where(np.isfinite(apart), apart, np.inf)
    beyond = np.flatnonzero(apart.max(axis=1) > tolerance)
    first = int(beyond[0]) if len(beyond) else None
    joint = None if first is None else names[int(apart[first].argmax())]
    return Difference(steps, first, joint, float(apart.mean()), float(apart.max()))
