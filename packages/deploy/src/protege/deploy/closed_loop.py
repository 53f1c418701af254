"""A policy and the robot in MuJoCo under one command: what `protege-deploy run` measures."""

from typing import Any

import numpy as np

from .clips import Pose
from .commands import STRIDE, MeasuredCommand
from .interface import RobotReading
from .loop import ControlLoop
from .robots.mujoco import MujocoRobot
from .runtime import OnnxPolicy


def run_closed_loop(
    policy: OnnxPolicy, robot: MujocoRobot, command: MeasuredCommand, seconds: float, *, realtime: bool
) -> dict[str, Any]:
    """Walk for so long, at least two steps, and close the robot.

    Args:
        policy: see `OnnxPolicy`.
        robot: where the run begins.
        command: also says how well it was obeyed.
        seconds: simulated, s.
        realtime: at the control rate, or as fast as it goes.

    Returns:
        loop (see `LoopReport`); stood (it never fell); walked_m (way of the root on the ground, m, from second to second);
        errors (the command's metrics); simulated_s; realtime.

    Raises:
        DeployError: the policy does not take this command.
    """
    dt, steps = policy.metadata.control_dt, max(2, round(seconds / policy.metadata.control_dt))
    readings: list[RobotReading] = []
    fell = False

    def watch(step: int, reading: RobotReading, held: bool) -> None:
        nonlocal fell
        readings.append(reading)
        fell = fell or robot.has_fallen

    try:
        report = ControlLoop(policy, robot, command, dt, realtime=realtime, on_step=watch).run(steps)
    finally:
        robot.close()
    seen = Pose(*(np.stack([getattr(reading, name) for reading in readings]) for name in Pose._fields))
    roots = seen.root_pos_w
    # From stride to stride: a walking pelvis sways.
    strides = np.vstack([roots[:: round(STRIDE / dt), :2], roots[-1:, :2]])
    return {
        "loop": report.to_dict(),
        "stood": not fell,
        "walked_m": float(np.linalg.norm(np.diff(strides, axis=0), axis=1).sum()),
        "errors": command.errors(dt * np.arange(steps), roots, robot.body_poses(seen)[0]),
        "simulated_s": steps * dt,
        "realtime": realtime,
    }
