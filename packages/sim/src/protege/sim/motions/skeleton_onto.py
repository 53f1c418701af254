"""Any skeleton's motion onto any robot, by the roles of its bodies and inverse kinematics."""

from dataclasses import replace

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from .anatomy import Roles, shipped_maps, in_skeleton
from .ground import put_on_ground, rounded, smooth, within_limits
from .inverse_kinematics import goals, solve
from .source import SkeletonMotion
from .surface import trace
from .world_poses import of_clip, of_motion


def clip_onto(clip: Clip, source: Robot, robot: Robot) -> Clip:
    """Another robot's clip, of 60 Hz, as this robot would move, smooth, within its limits and on the ground.

    Args:
        source: whose clip it is; a map named as it says its bodies' roles.

    Raises:
        UserError: the robot does not say how it follows other skeletons.
    """
    wanted = goals(of_clip(clip, source), in_skeleton(shipped_maps()[source.name], source.body_names), robot)
    wraps, clearance = clip.is_cyclic, wanted.scale * trace(clip, source).height.min(axis=1)
    moved = _clip(clip.name, clip.time, solve(robot, wanted, wraps=wraps))
    moved = smooth(moved, wraps=wraps)  # an arm that makes way for a leg jumps aside
    grounded = put_on_ground(within_limits(moved, robot), robot, clearance, wraps=wraps)
    facts = {"robot": robot.name, "joint_names": robot.joint_names, "fps": clip.fps, "source": clip.source}
    return replace(rounded(grounded), **facts, licence=clip.licence, warnings=clip.warnings)


def skeleton_onto(motion: SkeletonMotion, roles: Roles, robot: Robot) -> Clip:
    """A skeleton's motion, of 60 Hz, as the robot would move, smooth, within its limits and on the ground.

    Raises:
        UserError: the robot does not say how it follows other skeletons.
    """
    poses = of_motion(motion)
    wanted = goals(poses, roles, robot)
    moved = within_limits(smooth(_clip(motion.name, motion.time, solve(robot, wanted))), robot)
    lowest = wanted.scale * poses.pos[..., 2].min(axis=1)
    return put_on_ground(moved, robot, lowest - np.quantile(lowest, 0.02))


def _clip(name: str, time: np.ndarray, qpos: np.ndarray) -> Clip:
    return Clip(name, time, qpos[:, :3], qpos[:, 3:7], qpos[:, 7:])
