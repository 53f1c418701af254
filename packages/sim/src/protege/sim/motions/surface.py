"""The points of a robot that touch the ground first, at their positions in a clip."""

from dataclasses import dataclass

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Geom, Robot

from ..engine import mujoco
from ..robots.mjcf import build_spec

CORNERS = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T


@dataclass(frozen=True)
class Surface:
    """P points of a robot over T frames: corners of boxes, and centres of the round ends of capsules and spheres.

    Attributes:
        points: (T, P, 3) m, world frame.
        radius: (P,) m, of the ball around each point; 0 at a corner.
        body: (P,) index of each point's body.
    """

    points: np.ndarray
    radius: np.ndarray
    body: np.ndarray

    @property
    def height(self) -> np.ndarray:
        """Height of each ball's lowest point above z = 0, (T, P) m; negative in the ground."""
        return self.points[..., 2] - self.radius


def trace(clip: Clip, robot: Robot) -> Surface:
    """The surface points of a robot in each frame of a clip."""
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    geoms = [(body, geom) for body in range(robot.num_bodies) for geom in robot.bodies[body].geoms]
    ids = [i for i in range(model.ngeom) if model.geom_bodyid[i] > 0]  # in the same order; without the ground
    centers, turns = np.empty((len(clip.time), len(ids), 3)), np.empty((len(clip.time), len(ids), 3, 3))
    for frame in range(len(clip.time)):
        data.qpos[:] = np.concatenate([clip.root_pos_w[frame], clip.root_quat_w[frame], clip.joint_pos[frame]])
        mujoco.mj_kinematics(model, data)
        centers[frame], turns[frame] = data.geom_xpos[ids], data.geom_xmat[ids].reshape(-1, 3, 3)
    points, radius, owner = [], [], []
    for index, (body, geom) in enumerate(geoms):
        offsets, size = _extremes(geom)
        points.append(centers[:, index, None] + offsets @ turns[:, index].transpose(0, 2, 1))
        radius += [size] * len(offsets)
        owner += [body] * len(offsets)
    return Surface(np.concatenate(points, axis=1), np.array(radius), np.array(owner))


def _extremes(geom: Geom) -> tuple[np.ndarray, float]:
    """Points (n, 3) in the shape's own frame, m, and the radius around them."""
    if geom.kind == "box":
        return CORNERS * np.array(geom.size), 0.0
    ends = np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    return (ends * geom.size[1] if geom.kind == "capsule" else ends[:1] * 0.0), geom.size[0]
