"""Start states of any robot for tests of physics: in the air, at rest, on its feet; and its settings."""

from collections.abc import Sequence
from typing import Any

import torch

from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.sim.engine import mujoco
from protege.sim.robots import training_settings
from protege.sim.robots.mjcf import build_spec
from protege.sim.tasks.path import PathParams
from protege.sim.tasks.steering import SteeringParams

N = 3
"""Default number of envs."""


def random_state(robot: Robot, seed: int = 0, height: float = 3.0) -> RobotState:
    """In the air, in any orientation, moving, with joints within their limits and no overlapping bodies."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    low, high = robot.joint_range().T
    share = 0.1 if robot.self_collision else 0.25
    change = share * (high - low) * (2.0 * torch.rand(N, robot.num_joints, generator=generator) - 1.0)
    middle = robot.default_pose() if robot.self_collision else (low + high) / 2.0
    joints = (middle + change).clamp(low, high)
    pos = normal(N, 3) + torch.tensor([0.0, 0.0, height])
    roots = pos, R.normalize(normal(N, 4)), normal(N, 3), normal(N, 3)
    return Kinematics(robot).state(*roots, joints, normal(N, robot.num_joints))


def resting(
    robot: Robot,
    height: float = 3.0,
    n: int = N,
    *,
    quat: Sequence[float] | torch.Tensor = (1.0, 0.0, 0.0, 0.0),
    joints: torch.Tensor | None = None,
    lin_vel: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0),
    ang_vel: Sequence[float] | torch.Tensor = (0.0, 0.0, 0.0),
) -> RobotState:
    """At rest, upright, by default in the default pose; the same in all envs."""
    rows = (torch.as_tensor(x).expand(n, -1) for x in ((0.0, 0.0, height), quat, lin_vel, ang_vel))
    joints = (robot.default_pose() if joints is None else joints).expand(n, -1)
    return Kinematics(robot).state(*rows, joints, torch.zeros(n, robot.num_joints))


def on_its_feet(robot: Robot, sunk: float = 0.0, n: int = N, **changes: Any) -> RobotState:
    """The same on the ground, or `sunk` (m) below it."""
    return resting(robot, robot.root_height - sunk, n, **changes)


def hold(robot: Robot, n: int = N) -> torch.Tensor:
    """The default pose as targets, (n, J) rad."""
    return robot.default_pose().repeat(n, 1)


def mujocos(robot: Robot, start: RobotState) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """MuJoCo in the state of the first env."""
    model, s = build_spec(robot).compile(), start[0]
    data = mujoco.MjData(model)
    data.qpos[:] = torch.cat([s.body_pos_w[0], s.body_quat_w[0], s.joint_pos]).double().numpy()
    spin_b = R.rotate_inverse(s.body_quat_w[0], s.body_ang_vel_w[0])
    data.qvel[:] = torch.cat([s.body_lin_vel_w[0], spin_b, s.joint_vel]).double().numpy()
    return model, data


def own_settings(robot: Robot) -> dict[str, Any]:
    """The env settings of the robot's `training.yaml`, as arguments of `EnvConfig`: the speeds of its walk."""
    settings = training_settings(robot.name)[1].get("env", {})
    kinds = {"path_follower_params": PathParams, "steering_params": SteeringParams}
    return {key: kinds[key](speed=tuple(values["speed"])) for key, values in settings.items()}
