"""The command sources of `run --task`, each measured by its task's error."""

import click
import numpy as np

from ..commands.measured import MeasuredCommand
from ..commands.motion import Kinematics, MotionCommand
from ..commands.orders import MODES
from ..errors import DeployError
from ..geometry import Pose2D
from ..interface import RobotInterface
from ..motions.clips import load_clip
from ..policy.onnx_policy import OnnxPolicy


def choose_task(task: str | None, motion_file: str | None, policy: OnnxPolicy) -> str:
    """The task to run: the given one, or the first that the policy takes.

    Raises:
        DeployError: the policy does not take it, a clip is missing, or a clip does not belong to it.
    """
    offered = policy.modes
    usual = next((x for x in offered if x in MODES), next(iter(offered), ""))
    chosen = task or ("motion" if motion_file else usual)
    if chosen in policy.with_poses:
        raise DeployError(
            f"this policy takes a {chosen} only together with poses",
            f"Add --task motion --motion-file CLIP: the {chosen} is then the clip's",
        )
    if chosen not in offered:
        raise DeployError(f"this policy takes no {chosen or 'command'}", f"It takes {', '.join(offered) or 'none'}")
    if chosen not in MODES:
        order = f'[{{"at": 0, "{chosen}": {{...}}}}]'
        raise DeployError(f"{chosen} is ordered by the model's inputs", f"Take --commands script:FILE, with {order}")
    if chosen == "motion" and not motion_file:
        raise DeployError("motion needs a clip", "Add --motion-file CLIP, such as data/motions/ROBOT_humanoid_walk.npy")
    if chosen != "motion" and motion_file:
        raise DeployError(f"--motion-file does not go with --task {chosen}", "Take --task motion")
    return chosen


def motion_command(
    path: str, policy: OnnxPolicy, robot: RobotInterface, kinematics: Kinematics, seconds: float, *, standing: bool
) -> tuple[MeasuredCommand, float]:
    """The command source that tracks a clip, and the run's duration, s.

    A simulated robot begins in the clip's first pose, unless `standing`. Otherwise the clip begins where the robot is.
    """
    clip = load_clip(path, policy.metadata, kinematics)
    for warning in clip.warnings:
        click.echo(f"warning: {clip.name}: {warning}", err=True)
    reset = getattr(robot, "reset", None)
    if not standing and reset is not None:
        reset(clip.placed(Pose2D(np.zeros(2), 0.0)).start())
    clip = clip.placed(robot.read().pose_2d)
    return MotionCommand(clip, kinematics, policy.metadata, policy.with_poses), min(seconds, clip.duration)
