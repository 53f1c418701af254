"""A robot's MuJoCo model in the default pose: the starting point of the checks that need no simulation."""

import numpy as np

from protege.core.motions.contact import contact_points
from protege.core.robots.robot import Robot

from ..engine import mujoco
from ..robots.addresses import Addresses, addresses
from ..robots.mjcf import build_spec

Posed = tuple[mujoco.MjModel, mujoco.MjData, Addresses]
UPRIGHT = (1.0, 0.0, 0.0, 0.0)


def posed(robot: Robot, lift: float = 0.0) -> Posed:
    """The robot at rest in its default pose, upright, `lift` m above its root height, with all derived quantities computed."""
    model = build_spec(robot).compile()
    data, at = mujoco.MjData(model), addresses(model, robot)
    data.qpos[at.qpos] = standing(robot, lift)
    mujoco.mj_forward(model, data)
    return model, data, at


def standing(robot: Robot, lift: float = 0.0) -> np.ndarray:
    """(7 + J,): the root's position m and quaternion wxyz, and the joints' angles rad."""
    return np.array([0.0, 0.0, robot.root_height + lift, *UPRIGHT, *robot.default_joint_pos])


def contacts(robot: Robot) -> np.ndarray:
    """(B, 3) m in the default pose: the position of each body with the height of its lowest point as z; inf without shapes."""
    qpos = standing(robot)[None]
    return contact_points(robot, qpos[:, :3], qpos[:, 3:7], qpos[:, 7:])[0]
