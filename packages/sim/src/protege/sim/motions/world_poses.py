"""Poses of a skeleton's bodies in the world, frame by frame: the input of inverse kinematics."""

from dataclasses import dataclass

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot

from .skeleton_kinematics import body_poses
from .source import SkeletonMotion


@dataclass(frozen=True)
class WorldPoses:
    """B bodies over T frames, and at rest; world frame, z up, quaternions wxyz.

    Attributes:
        names: of the bodies.
        pos: (T, B, 3) m.
        quat: (T, B, 4).
        rest_pos: (B, 3) m, positions of the bodies while all rotations are zero.
        rest_quat: (B, 4).
        aligned: at rest the skeleton stands upright and faces x, and so do its bodies' frames. The rest pose of other skeletons
            depends on their file.
    """

    names: tuple[str, ...]
    pos: np.ndarray
    quat: np.ndarray
    rest_pos: np.ndarray
    rest_quat: np.ndarray
    aligned: bool = False

    def index(self, name: str) -> int:
        """Index of a body."""
        return self.names.index(name)


def of_clip(clip: Clip, robot: Robot) -> WorldPoses:
    """World poses of a robot's clip; at rest its joints are at zero."""
    zero = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]]), np.zeros((1, robot.num_joints))
    pos, quat = robot_poses(robot, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    rest_pos, rest_quat = robot_poses(robot, *zero)
    return WorldPoses(robot.body_names, pos, quat, rest_pos[0], rest_quat[0], aligned=True)


def of_motion(motion: SkeletonMotion) -> WorldPoses:
    """World poses of a skeleton's motion."""
    skeleton = motion.skeleton
    pos, quat = body_poses(motion.root_pos_w, motion.rotations, skeleton.offsets, skeleton.parents)
    at_rest = np.tile([1.0, 0.0, 0.0, 0.0], (1, len(skeleton.names), 1))
    rest_pos, rest_quat = body_poses(np.zeros((1, 3)), at_rest, skeleton.offsets, skeleton.parents)
    return WorldPoses(skeleton.names, pos, quat, rest_pos[0], rest_quat[0], aligned=bool(skeleton.family))


def robot_poses(
    robot: Robot, root_pos_w: np.ndarray, root_quat_w: np.ndarray, joint_pos: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions (T, B, 3) m and rotations (T, B, 4) of a robot's bodies, from root (T, 3) m, (T, 4) and joints (T, J) rad."""
    pose = (torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in (root_pos_w, root_quat_w, joint_pos))
    pos, quat = Kinematics(robot).double()(*pose)
    return pos.numpy(), quat.numpy()
