"""Retargeting: any motion onto any robot.

A robot's own joints stay as they are (`identity`). SMPL's bodies, and those of DeepMimic's humanoid, become the angles of hinges
of a robot that has them. Every other robot gets that robot's clip by inverse kinematics, where there is a map.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from ..robots import get_robot, robot_names
from . import cycles
from .ground import rounded
from .anatomy import roles_of
from .body_map import has_body_map
from .humanoid_onto import has_humanoid_hinges, humanoid_onto
from .identity import joints_onto
from .readers import humanoid3d, smpl_family
from .resample import at_most, at_rate
from .skeleton_onto import clip_onto, skeleton_onto
from .smpl_onto import has_smpl_hinges, smpl_onto
from .source import JointMotion, SkeletonMotion, SourceMotion

RATE = 60.0
"""Frames a second of what goes through inverse kinematics, which smooths by frames."""


@dataclass(frozen=True)
class _Family:
    """Skeletons whose rotations are the angles of some robots' hinges.

    Attributes:
        fits: whether a robot has such hinges.
        onto: (motion, such a robot) -> the clip, on the ground; closed and repeated if it wraps.
    """

    fits: Callable[[Robot], bool]
    onto: Callable[[SkeletonMotion, Robot], Clip]


FAMILIES = {
    smpl_family.FAMILY: _Family(has_smpl_hinges, smpl_onto),
    humanoid3d.FAMILY: _Family(has_humanoid_hinges, humanoid_onto),
}


def retarget(source: SourceMotion, robot: Robot) -> Clip:
    """The motion as the robot would make it, on the ground, with its joints' names, rate, source and licence.

    Raises:
        UserError: these are another robot's joints, or nothing leads from the skeleton to the robot.
    """
    if isinstance(source, JointMotion):
        thinned = at_most(source)
        clip = replace(_joints_onto(thinned, robot), fps=thinned.fps)
    else:
        clip = _skeleton_onto(source, robot)
    facts = {"robot": robot.name, "joint_names": robot.joint_names, "fps": clip.fps}
    doubts = (*source.warnings, *clip.warnings)
    return replace(rounded(clip), **facts, source=source.source, licence=source.licence, warnings=doubts)


def _skeleton_onto(source: SkeletonMotion, robot: Robot) -> Clip:
    """The clip, with its rate."""
    family = FAMILIES.get(source.skeleton.family)
    if family and family.fits(robot):
        thinned = at_most(source)
        return replace(family.onto(thinned, robot), fps=thinned.fps)
    for name in robot_names() if family else ():
        between = get_robot(name)
        if family and family.fits(between) and has_body_map(robot):
            there = family.onto(at_rate(source, RATE), between)
            return clip_onto(replace(rounded(there), robot=name, fps=RATE, warnings=there.warnings), between, robot)
    skeleton, roles = source.skeleton, roles_of(source.skeleton.names)
    if roles:
        even = at_rate(source, RATE)
        return replace(skeleton_onto(even, roles, robot), fps=even.fps)
    kind = f"skeleton of {skeleton.family}" if family else f"skeleton with {', '.join(skeleton.names[:3])}, ..."
    raise UserError(
        f"{source.file}: no way leads from its {kind} to the robot {robot.name}",
        "Retarget it elsewhere, or add a map to sim/motions/maps",
    )


def _joints_onto(source: JointMotion, robot: Robot) -> Clip:
    """The clip; a cycle closed, without leaving limits that the source keeps, and repeated."""
    clip = joints_onto(source, robot)
    if not source.wraps:
        return clip
    low, high = robot.joint_range().double().numpy().T
    least, most = np.minimum(low, clip.joint_pos), np.maximum(high, clip.joint_pos)
    closed = cycles.close(clip, cycles.SEAM)
    closed = replace(closed, joint_pos=closed.joint_pos.clip(least, most))
    return replace(cycles.repeat(closed), warnings=cycles.gap(clip, robot.joint_names))
