"""A motion as in its file, drawn next to the robot that it was retargeted to: at the same time, on the same ground."""

from dataclasses import dataclass

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot

from ..engine import mujoco
from ..render import COMPANION_OFFSET, Companion, Mark, add_mark
from ..robots import get_robot
from ..robots.addresses import addresses
from .identity import joints_onto, robot_of
from .skeleton_kinematics import body_positions
from .source import JointMotion, SkeletonMotion, SourceMotion

BONE_RADIUS, JOINT_RADIUS = 0.025, 0.035
"""m, radii of a bone and of a joint."""
SOURCE_COLOR = (0.25, 0.55, 0.85, 1.0)
"""Colour of the source, rgba."""


@dataclass(frozen=True)
class Figure:
    """A figure of balls and bones, at T times.

    Attributes:
        time: (T,) s, rising from 0.
        positions: (T, B, 3) m, world frame, body 0 is the root.
        parents: index of each body's parent, -1 for the root.
    """

    time: np.ndarray
    positions: np.ndarray
    parents: tuple[int, ...]

    def at(self, moment: float) -> np.ndarray:
        """(B, 3) m, linear between frames, clamped to the motion."""
        low = int(np.clip(np.searchsorted(self.time, moment, side="right") - 1, 0, len(self.time) - 2))
        share = np.clip((moment - self.time[low]) / (self.time[low + 1] - self.time[low]), 0.0, 1.0)
        return self.positions[low] + share * (self.positions[low + 1] - self.positions[low])

    def draw(self, scene: mujoco.MjvScene, moment: float, root: np.ndarray) -> None:
        """Add the figure to a scene, with its root to the left of the place of another root (3,) m."""
        positions = self.at(moment)
        positions = positions + _shift(positions[0], root)
        for index, parent in enumerate(self.parents):
            add_mark(scene, Mark(mujoco.mjtGeom.mjGEOM_SPHERE, JOINT_RADIUS, positions[[index]], SOURCE_COLOR))
            if parent >= 0 and np.linalg.norm(positions[index] - positions[parent]) > 1e-6:
                bone = positions[[parent, index]]
                add_mark(scene, Mark(mujoco.mjtGeom.mjGEOM_CAPSULE, BONE_RADIUS, bone, SOURCE_COLOR))


def companion(source: SourceMotion, robot: Robot, model: mujoco.MjModel) -> Companion:
    """A function that draws a source beside the robot.

    The source keeps its own height but is always placed beside the robot, because legs of another length travel other distances. A
    cycle is repeated, as in its clip.

    Args:
        source: a skeleton is drawn as balls and bones; the robot's own joints as that robot; another robot's joints as its bones.
        robot: the robot that is drawn.
        model: of this robot, as it is drawn.
    """
    draw = _drawn(source, robot, model)
    length = float(source.time[-1])
    return (lambda scene, moment, root: draw(scene, moment % length, root)) if source.wraps else draw


def _drawn(source: SourceMotion, robot: Robot, model: mujoco.MjModel) -> Companion:
    if isinstance(source, SkeletonMotion):
        body = source.skeleton
        positions = body_positions(source.root_pos_w, source.rotations, body.offsets, body.parents)
        return Figure(source.time, positions, body.parents).draw
    name = robot_of(source) or robot.name
    if name == robot.name or set(source.joint_names) == set(robot.joint_names):
        return _same_robot(joints_onto(source, robot), robot, model)
    return _bones(source, get_robot(name)).draw


def _bones(source: JointMotion, robot: Robot) -> Figure:
    clip = joints_onto(source, robot)
    pose = (np.ascontiguousarray(x) for x in (clip.root_pos_w, clip.root_quat_w, clip.joint_pos))
    positions, _ = Kinematics(robot).double()(*map(torch.from_numpy, pose))
    return Figure(source.time, positions.numpy(), tuple(robot.parents))


def _same_robot(clip: Clip, robot: Robot, model: mujoco.MjModel) -> Companion:
    """The robot a second time, in another colour."""
    data, rows = mujoco.MjData(model), addresses(model, robot).qpos

    def draw(scene: mujoco.MjvScene, moment: float, root: np.ndarray) -> None:
        (pos,), (quat,), (joint_pos,) = clip.at(np.array([moment]))
        data.qpos[rows] = np.concatenate([pos + _shift(pos, root), quat, joint_pos])
        mujoco.mj_kinematics(model, data)
        first = scene.ngeom
        moving = mujoco.mjtCatBit.mjCAT_DYNAMIC.value
        mujoco.mjv_addGeoms(model, data, mujoco.MjvOption(), mujoco.MjvPerturb(), moving, scene)
        for geom in scene.geoms[first : scene.ngeom]:
            geom.matid, geom.rgba = -1, np.array(SOURCE_COLOR, np.float32)

    return draw


def _shift(own: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(3,) m, horizontal shift that moves a root from its own place to the left of another root."""
    return (root + COMPANION_OFFSET - own) * [1.0, 1.0, 0.0]
