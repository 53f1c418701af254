"""Boxes around meshes that collide: the physics here has boxes, capsules and spheres, and most published models have meshes."""

import numpy as np

from protege.core.robots.robot import Vec3

from ..engine import mujoco

THINNEST = 1e-3
"""m, least half of a box's side; a flat mesh has none."""
Box = tuple[Vec3, Vec3, tuple[float, float, float, float]]


def box_around(model: mujoco.MjModel, geom: int) -> Box:
    """Half sides m, centre m and rotation wxyz of a mesh's box in the frame of its body.

    The box is upright while all joints are at zero and the root is upright, so that the sole of a foot stays level.

    Args:
        model: compiled.
        geom: row of a shape that is a mesh.
    """
    mesh, body = int(model.geom_dataid[geom]), int(model.geom_bodyid[geom])
    first, count = int(model.mesh_vertadr[mesh]), int(model.mesh_vertnum[mesh])
    points = model.mesh_vert[first : first + count] @ _matrix(model.geom_quat[geom]).T + model.geom_pos[geom]
    upright = _from_root(model, body)
    points = points @ _matrix(upright).T
    low, high = points.min(axis=0), points.max(axis=0)
    centre = 0.5 * (low + high) @ _matrix(upright)
    turn = upright * [1.0, -1.0, -1.0, -1.0]
    return tuple(np.maximum(0.5 * (high - low), THINNEST).tolist()), tuple(centre.tolist()), tuple(turn.tolist())


def _from_root(model: mujoco.MjModel, body: int) -> np.ndarray:
    """(4,) wxyz, the rotation from a body's frame to the root's with all joints at zero."""
    turn = np.array([1.0, 0.0, 0.0, 0.0])
    while model.body_parentid[body]:
        product = np.zeros(4)
        mujoco.mju_mulQuat(product, model.body_quat[body], turn)
        turn, body = product, int(model.body_parentid[body])
    return turn


def _matrix(quat: np.ndarray) -> np.ndarray:
    """(3, 3) of a quaternion wxyz."""
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)
