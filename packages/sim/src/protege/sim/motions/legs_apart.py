"""How deep legs intersect, and the direction in which a swinging foot has to move to avoid it."""

from collections.abc import Sequence

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from ..engine import mujoco
from ..robots.mjcf import build_spec
from .foot_moves import risen
from .ground import STEADY_SMOOTHING, averaged, frames, largest
from .soles import leg_bodies
from .world_poses import robot_poses

NEAR_DISTANCE = 0.35
"""m between bodies' origins: legs that are farther apart are not checked."""
MIN_GAP = 0.002
"""m, least distance between the legs."""


def foot_ways(clip: Clip, robot: Robot, standing: Sequence[np.ndarray]) -> list[np.ndarray] | None:
    """(T, 3) m, horizontal, by which the left and the right foot have to move aside while they swing; None if none has to.

    Args:
        standing: for the left and the right foot, (T,) when it stands and therefore stays.
    """
    depth, side = overlaps(clip, robot)
    if depth.max() <= 0.0:
        return None
    step = clip.duration / (len(clip.time) - 1)
    steady = frames(STEADY_SMOOTHING, step)
    ways = []
    for sign, own, other in ((1.0, standing[0], standing[1]), (-1.0, standing[1], standing[0])):
        # If both swing, each moves by half.
        part = np.where(own, 0.0, np.where(other, 1.0, 0.5))
        way = sign * depth[:, None] * side * part[:, None]
        along = way / np.linalg.norm(way, axis=1, keepdims=True).clip(1e-9)
        much = averaged(largest(np.linalg.norm(way, axis=1), steady), steady) * risen(own, step)
        at = np.flatnonzero(np.linalg.norm(way, axis=1) > 0.0)
        if len(at):  # use the direction of the nearest frame that has one
            near = at[np.abs(np.arange(len(much))[:, None] - at).argmin(axis=1)]
            ways.append(much[:, None] * along[near])
        else:
            ways.append(np.zeros_like(way))
    return ways


def overlaps(clip: Clip, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """How deep one leg is in the other, and the way out.

    Returns:
        (T,) m by which the two closest shapes fall short of `MIN_GAP`; 0 or less where they keep it. And (T, 3), horizontal, the
        unit vector to the body's left or right along which the left leg leaves the right one.
    """
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    names = [[*leg_bodies(robot, feet[0]), *feet[1:]] for feet in (robot.groups.left_foot, robot.groups.right_foot)]
    shapes = [[i for i in range(model.ngeom) if model.geom_bodyid[i] in ids] for ids in _ids(model, names)]
    pos, quat = robot_poses(robot, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    left, right = (pos[:, robot.body_ids(tuple(one))] for one in names)
    between = np.linalg.norm(left[:, :, None] - right[:, None], axis=-1).min(axis=(1, 2))
    heading = R.yaw(torch.from_numpy(np.ascontiguousarray(quat[:, 0]))).numpy()
    side = np.stack([-np.sin(heading), np.cos(heading), np.zeros(len(heading))], axis=1)
    depth = np.zeros(len(clip.time))
    for frame in np.flatnonzero(between < NEAR_DISTANCE):
        data.qpos[:] = np.concatenate([clip.root_pos_w[frame], clip.root_quat_w[frame], clip.joint_pos[frame]])
        mujoco.mj_kinematics(model, data)
        found = [(mujoco.mj_geomDistance(model, data, a, b, MIN_GAP, None), a, b) for a in shapes[0] for b in shapes[1]]
        least, a, b = min(found)
        depth[frame] = MIN_GAP - least
        if (data.geom_xpos[a] - data.geom_xpos[b]) @ side[frame] < 0.0:
            side[frame] *= -1.0
    return depth, side


def _ids(model: mujoco.MjModel, names: Sequence[Sequence[str]]) -> list[set[int]]:
    return [{model.body(name).id for name in one} for one in names]
