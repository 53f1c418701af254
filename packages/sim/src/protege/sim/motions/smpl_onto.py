"""SMPL's motion onto a robot with three hinges for each of SMPL's bodies, with the same names."""

from dataclasses import replace

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from . import cycles
from .ground import within_limits
from .hinges import hinge_angles
from .readers.smpl_family import FAMILY, NAMES
from .source import Skeleton, SkeletonMotion

LEG_BODIES = ("L_Hip", "L_Knee", "L_Ankle")


def has_smpl_hinges(robot: Robot) -> bool:
    """Whether a robot has SMPL's bodies, each but the root with hinges about x, y and z."""
    axes = {name: [joint.axis for joint in robot.joints if joint.body == name] for name in robot.body_names}
    wanted = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    return set(robot.body_names) == set(NAMES) and all(axes[name] == wanted for name in NAMES[1:])


def smpl_onto(motion: SkeletonMotion, robot: Robot) -> Clip:
    """The clip, not yet on the ground: rotations become hinge angles within the limits; a cycle is closed.

    The robot's body shape may differ: the root's travel and height are scaled by the length of the legs.

    Args:
        motion: of SMPL's skeleton, T frames.
        robot: see `has_smpl_hinges`.
    """
    skeleton = motion.skeleton
    assert skeleton.family == FAMILY, skeleton.family
    limits, rotations = robot.joint_range(), torch.from_numpy(np.ascontiguousarray(motion.rotations))
    joint_pos = torch.zeros(len(motion.time), robot.num_joints, dtype=torch.float64)
    for body in NAMES[1:]:
        columns = [i for i, joint in enumerate(robot.joints) if joint.body == body]
        joint_pos[:, columns] = hinge_angles(
            rotations[:, skeleton.names.index(body)], limits[columns], wraps=motion.wraps, calm=True
        )
    scale = _leg(robot) / _leg(skeleton)
    clip = Clip(motion.name, motion.time, scale * motion.root_pos_w, motion.root_quat_w, joint_pos.numpy())
    doubts = cycles.gap(clip, robot.joint_names) if motion.wraps else ()
    if motion.wraps:
        clip = within_limits(cycles.close(clip, cycles.SEAM), robot)
    return replace(clip, warnings=doubts)


def _leg(whose: Robot | Skeleton) -> float:
    """Length of the left leg, from hip to ankle, m."""
    if isinstance(whose, Robot):
        offsets = {body.name: np.array(body.offset) for body in whose.bodies}
    else:
        offsets = dict(zip(whose.names, whose.offsets, strict=True))
    return float(sum(np.linalg.norm(offsets[name]) for name in LEG_BODIES[1:]))
