"""The commands that `run --task` gives, each measured by its task's error."""

import click
import numpy as np

from ..commands.goal import GoalCommand
from ..commands.measured import MeasuredCommand
from ..commands.motion import Kinematics, MotionCommand
from ..commands.path import PathCommand
from ..commands.steering import SteeringCommand
from ..errors import DeployError
from ..geometry import Pose2D
from ..interface import MODALITIES, RobotInterface
from ..motions.clips import load_clip
from ..policy.metadata import Metadata
from ..policy.onnx_policy import OnnxPolicy
from ..safety.ranges import Ranges


def choose_task(task: str | None, motion_file: str | None, policy: OnnxPolicy) -> str:
    """What to run: what was asked for, or the first that the policy takes.

    Raises:
        DeployError: the policy does not take it, or a clip is missing or too many.
    """
    offered = policy.modes
    chosen = task or ("motion" if motion_file else next((x for x in offered if x in (*MODALITIES, "motion")), ""))
    if chosen in policy.with_poses:
        raise DeployError(
            f"this policy takes a {chosen} only together with poses",
            f"Add --task motion --motion-file CLIP: the {chosen} is then the clip's",
        )
    if chosen not in offered:
        raise DeployError(f"this policy takes no {chosen or 'command'}", f"It takes {', '.join(offered) or 'none'}")
    if chosen == "motion" and not motion_file:
        raise DeployError("motion needs a clip", "Add --motion-file data/motions/smpl_humanoid_walk.npy, or another")
    if chosen != "motion" and motion_file:
        raise DeployError(f"--motion-file does not go with --task {chosen}", "Take --task motion")
    return chosen


def motion_command(
    path: str, policy: OnnxPolicy, robot: RobotInterface, kinematics: Kinematics, seconds: float, *, standing: bool
) -> tuple[MeasuredCommand, float]:
    """The command to track a clip, and for how long, s.

    A simulated robot begins in its first pose, unless it is to stand. Otherwise the clip begins where the robot is.
    """
    clip = load_clip(path, policy.metadata, kinematics)
    for warning in clip.warnings:
        click.echo(f"warning: {clip.name}: {warning}", err=True)
    reset = getattr(robot, "reset", None)
    if not standing and reset is not None:
        reset(clip.placed(Pose2D(np.zeros(2), 0.0)).start())
    clip = clip.placed(robot.read().pose_2d)
    return MotionCommand(clip, kinematics, policy.metadata, policy.with_poses), min(seconds, clip.duration)


def task_command(
    task: str,
    start: Pose2D,
    seconds: float,
    metadata: Metadata,
    *,
    speed: float,
    turn_rate: float,
    seed: int | None,
    goal: tuple[float, float],
    direction: float,
) -> MeasuredCommand:
    """The path, goal or steering that the options ask for, for a run of so many seconds, within what the policy was trained on."""
    ranges, times = Ranges(metadata.command_ranges), metadata.path_times
    if task == "goal":
        return GoalCommand.ahead(start, goal, ranges.reach(float(np.hypot(*goal))))
    if task == "steering":
        return SteeringCommand(start.direction(direction), ranges.clamp("steering_speed", speed))
    if seed is not None:
        return PathCommand.random(start, seed, seconds, times)
    slower = ranges.clamp("path_speed", speed)
    bend = ranges.clamp("path_turn_rate", turn_rate * slower / speed if speed else turn_rate)
    # As long as it is seen ahead at the end of the run.
    return PathCommand.arc(start, slower, bend, seconds + max(times), times)
