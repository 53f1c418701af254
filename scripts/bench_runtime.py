"""Measures the runtime of an export: its start, and the effect of the safety layer on runs that do not fail.

    python scripts/bench_runtime.py results/onnx

The start is that of a separate process that imports `protege.deploy.runtime`, loads the policy and acts once. Then each command is
played twice, with the safety layer and without: 50 random paths, 50 steering commands, 50 goals and two clips.
"""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from protege.deploy.cli.tasks import motion_command
from protege.deploy.commands.goal import GoalCommand
from protege.deploy.commands.measured import MeasuredCommand
from protege.deploy.commands.path import PathCommand
from protege.deploy.commands.steering import SteeringCommand
from protege.deploy.loop.closed_loop import run_closed_loop
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.robots.mujoco import MujocoRobot
from protege.deploy.runtime import OnnxPolicy
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety

SECONDS = 10.0
START = """
import os, sys, time
begun = float(open("/proc/self/stat").read().rsplit(")")[1].split()[19]) / os.sysconf("SC_CLK_TCK")
import numpy as np
from protege.deploy.runtime import Command, OnnxPolicy, RobotReading
policy = OnnxPolicy(sys.argv[1])
reading = RobotReading(**{name: np.array(value) for name, value in vars(policy.metadata.start).items()})
policy.act(reading, Command())
memory = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
seconds = float(open("/proc/uptime").read().split()[0]) - begun
print(f"{seconds:.2f} s, {memory:.0f} MB, torch {'imported' if 'torch' in sys.modules else 'not imported'}")
"""


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--starts", default=5, show_default=True, help="number of measurements of the start")
def main(folder: Path, starts: int) -> None:
    """Measure start and safety of the student exported to FOLDER."""
    for _ in range(starts):
        words = [sys.executable, "-c", START, str(folder)]
        printed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        click.echo(f"process start to first action: {printed}")
    policy, robot = OnnxPolicy(folder), MujocoRobot(folder)
    for task, count in {"path": 50, "steering": 50, "goal": 50, "motion": 2}.items():
        safe, free = (
            [play(task, k, policy, robot, limits) for k in range(count)]
            for limits in (Limits.of(policy.metadata), Limits.off())
        )
        same = sum(
            a["walked_m"] == b["walked_m"] and a["errors"] == b["errors"] for a, b in zip(safe, free, strict=True)
        )
        stood, stood_free = (sum(run["stood"] for run in runs) for runs in (safe, free))
        clipped = sum(sum(run["loop"]["clipped"].values()) for run in safe if run["stood"])
        click.echo(
            f"{task:<9} {count} runs: {stood} stood with the safety layer, {stood_free} without; {same} the same to the bit; "
            f"{clipped} steps clipped in those that stood"
        )


def play(task: str, index: int, policy: OnnxPolicy, robot: MujocoRobot, limits: Limits) -> dict[str, Any]:
    """One run of ten seconds from the start state."""
    robot.reset(policy.metadata.start)
    command, seconds = _command(task, index, policy, robot)
    safety = Safety(limits, policy.metadata)
    loop = ControlLoop(policy, robot, command, policy.metadata.control_dt, realtime=False, safety=safety)
    return run_closed_loop(loop, seconds, robot.body_poses)


def _command(task: str, index: int, policy: OnnxPolicy, robot: MujocoRobot) -> tuple[MeasuredCommand, float]:
    start, angle = robot.read().pose_2d, 2.0 * math.pi * index / 50.0
    if task == "path":
        return PathCommand.random(start, index, SECONDS, policy.metadata.path_times), SECONDS
    if task == "steering":
        return SteeringCommand(start.direction(math.degrees(angle)), (0.0, 0.4, 0.8, 1.1, 1.4)[index % 5]), SECONDS
    if task == "goal":
        return GoalCommand.ahead(start, (3.0 * math.cos(angle), 3.0 * math.sin(angle))), SECONDS
    clip = ("smpl_humanoid_walk.npy", "smpl_humanoid_run.npy")[index]
    return motion_command(clip, policy, robot, robot.body_poses, SECONDS, standing=False)


if __name__ == "__main__":
    main()
