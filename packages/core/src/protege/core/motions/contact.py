"""Lowest point of each body of a robot in every frame of a motion, for checks of floor and feet."""

from functools import lru_cache

import numpy as np
import torch

from ..robots import rotation as R
from ..robots.kinematics import Kinematics
from ..robots.robot import Geom, Robot

CHUNK_FRAMES = 4096
"""Frames that are processed together, to bound the memory for long clips."""


@lru_cache(maxsize=4)
def _kinematics(robot: Robot) -> Kinematics:
    return Kinematics(robot).double()


@lru_cache(maxsize=4)
def leg_length(robot: Robot) -> float:
    """Distance from the root to the lowest point in the default pose, upright, m."""
    pose = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]]), np.array([robot.default_joint_pos])
    return -float(contact_points(robot, *pose)[..., 2].min())


def contact_points(robot: Robot, root_pos_w: np.ndarray, root_quat_w: np.ndarray, joint_pos: np.ndarray) -> np.ndarray:
    """Position of each body's origin, with z replaced by the height of its lowest point over z = 0.

    Args:
        robot: gives the collision shapes.
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz.
        joint_pos: (T, J) rad.

    Returns:
        (T, B, 3) m; z is infinite for bodies without collision shapes.
    """
    arrays = (np.ascontiguousarray(x) for x in (root_pos_w, root_quat_w, joint_pos))
    chunks = zip(*(np.array_split(x, -(-len(x) // CHUNK_FRAMES)) for x in arrays), strict=True)
    return np.concatenate([_chunk(robot, *map(torch.from_numpy, chunk)) for chunk in chunks])


def _chunk(robot: Robot, root_pos_w: torch.Tensor, root_quat_w: torch.Tensor, joint_pos: torch.Tensor) -> np.ndarray:
    pos, quat = _kinematics(robot)(root_pos_w, R.normalize(root_quat_w), joint_pos)
    points = pos.clone()
    points[..., 2] = torch.inf
    for index, body in enumerate(robot.bodies):
        for geom in body.geoms:
            height = pos[:, index, 2] + _lowest(geom, quat[:, index])
            points[:, index, 2] = torch.minimum(points[:, index, 2], height)
    return points.numpy()


def _lowest(geom: Geom, quat: torch.Tensor) -> torch.Tensor:
    """Height of a shape's lowest point relative to its body's origin, (T,) m, for rotations (T, 4) of the body."""
    pos, turn = quat.new_tensor(geom.pos), quat.new_tensor(geom.quat)
    w, x, y, z = R.multiply(quat, turn.expand_as(quat)).unbind(dim=-1)
    size = quat.new_tensor(geom.size)
    # The world's z axis in the shape's frame: the last row of its rotation matrix.
    up = torch.stack([2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)], dim=1)
    reach = {
        "box": lambda: (up.abs() * size).sum(dim=1),
        "capsule": lambda: size[0] + size[1] * up[:, 2].abs(),
        "sphere": lambda: size[0].expand(len(up)),
    }[geom.kind]()
    return R.rotate(quat, pos.expand(len(quat), 3))[:, 2] - reach
