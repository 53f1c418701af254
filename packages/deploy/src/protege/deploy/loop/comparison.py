"""How two runs differ, and how a policy's answers differ from those that were recorded."""

from dataclasses import dataclass

import numpy as np

from ..errors import DeployError
from ..interface import Array
from ..policy.onnx_policy import OnnxPolicy
from ..safety.limits import Limits
from ..safety.safety import Safety
from .loop import ControlLoop
from .recording import Recording
from .replay import RecordedCommand, ReplayRobot


@dataclass(frozen=True)
class Difference:
    """Between two runs, or two series of joint targets, over the steps that both have.

    Attributes:
        steps: that were compared.
        first_step: the first in which joint targets differ by more than the tolerance; None if none does.
        first_joint: which joint's differ most there.
        mean_target, max_target: of the joint targets, rad.
        mean_root, max_root: of the root's path, m; None where it is not compared.
    """

    steps: int
    first_step: int | None
    first_joint: str | None
    mean_target: float
    max_target: float
    mean_root: float | None = None
    max_root: float | None = None


def replay(policy: OnnxPolicy, recording: Recording, tolerance: float) -> Difference:
    """Ask a policy again what was asked in a run: the same measurements and commands, its own history.

    Args:
        policy: the one of the run, or another that takes its commands.
        recording: the run; only the steps before the robot damped.
        tolerance: rad.

    Raises:
        DeployError: the policy has other joints or does not take the commands, or was never asked.
    """
    if not recording.asked:
        raise DeployError(f"{recording.path}: the policy was not asked in any step", "Record another run")
    robot = ReplayRobot(recording, policy.metadata.num_joints)
    nothing = Safety(Limits.off(), policy.metadata)
    loop = ControlLoop(
        policy, robot, RecordedCommand(recording), policy.metadata.control_dt, realtime=False, safety=nothing
    )
    loop.run(recording.asked)
    return _difference(
        robot.written, recording.columns["joint_target"], recording.asked, policy.metadata.joint_names, tolerance
    )


def compare(first: Recording, second: Recording, tolerance: float) -> Difference:
    """Two runs of one robot, step by step: written targets and the root's path.

    Raises:
        DeployError: other joints.
    """
    names = first.facts["joint_names"]
    if names != second.facts["joint_names"]:
        raise DeployError(
            f"{first.path} and {second.path} are of robots with other joints", "Compare runs of one robot"
        )
    steps = min(first.steps, second.steps)
    targets = [run.columns["written_target"] for run in (first, second)]
    roots = [run.columns["root_pos_w"][:steps].astype(np.float64) for run in (first, second)]
    apart = np.linalg.norm(roots[0] - roots[1], axis=1)
    found = _difference(targets[0], targets[1], steps, names, tolerance)
    return Difference(**{**vars(found), "mean_root": float(apart.mean()), "max_root": float(apart.max())})


def _difference(a: Array, b: Array, steps: int, names: list[str], tolerance: float) -> Difference:
    """Of targets (T, J) rad, over so many steps; what is not finite on one side differs without bound."""
    apart = np.abs(a[:steps].astype(np.float64) - b[:steps].astype(np.float64))
    apart = np.where(np.isfinite(apart), apart, np.inf)
    beyond = np.flatnonzero(apart.max(axis=1) > tolerance)
    first = int(beyond[0]) if len(beyond) else None
    joint = None if first is None else names[int(apart[first].argmax())]
    return Difference(steps, first, joint, float(apart.mean()), float(apart.max()))
