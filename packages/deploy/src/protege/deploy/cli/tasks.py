"""The commands that `run --task` gives, each measured by its task's error."""

import click
import numpy as np

from ..commands.clips import load_clip
from ..commands.motion import Kinematics, MotionCommand
from ..commands.simple import GoalCommand, MeasuredCommand, PathCommand, SteeringCommand
from ..errors import DeployError
from ..interface import RobotInterface, RobotReading
from ..policy.metadata import Metadata
from ..policy.onnx_policy import OnnxPolicy
from ..safety.ranges import Ranges


def choose_task(task: str | None, motion_file: str | None, policy: OnnxPolicy) -> str:
    """What to run: what was asked for, or the first that the policy takes.

    Raises:
        DeployError: the policy does not take it, or a clip is missing or too many.
    """
    commands = [name for name in policy.modalities if name != "poses"]
    offered = policy.modes
    chosen = task or ("motion" if motion_file else next(iter(offered), ""))
    if chosen in commands and policy.needs_poses:
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
        reset(clip.placed(np.zeros(2), 0.0).start())
    reading = robot.read()
    clip = clip.placed(reading.root_pos_w[:2], reading.yaw)
    also = policy.modalities if policy.needs_poses else []
    return MotionCommand(clip, kinematics, policy.metadata, also), min(seconds, clip.duration)


def task_command(
    task: str,
    reading: RobotReading,
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
    ranges = Ranges(metadata.command_ranges)
    if task == "goal":
        return GoalCommand.ahead(reading, goal, ranges.reach(float(np.hypot(*goal))))
    if task == "steering":
        return SteeringCommand.towards(reading, float(np.radians(direction)), ranges.clamp("steering_speed", speed))
    if seed is not None:
        return PathCommand.random(reading, seed, seconds, metadata.path_times)
    slower = ranges.clamp("path_speed", speed)
    bend = ranges.clamp("path_turn_rate", turn_rate * slower / speed if speed else turn_rate)
    return PathCommand.steady(reading, slower, bend, seconds, metadata.path_times)
