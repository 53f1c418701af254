"""Retargeting: any motion onto any robot.

A robot's own joints stay as they are (`identity`), except for `grounding`. SMPL's bodies, and those of DeepMimic's humanoid, become
the hinge angles of a robot that has these hinges; other robots follow that robot's clip by inverse kinematics. Every other skeleton
is followed by the roles of its bodies (`anatomy`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from ..robots import get_robot, robot_names
from . import cycles
from .anatomy import Roles, roles_of
from .body_map import has_body_map
from .ground import rounded
from .grounding import Fitted, grounded, own_joints_grounded, shifted
from .humanoid_onto import has_humanoid_hinges, humanoid_onto
from .identity import joints_onto
from .readers import humanoid3d, smpl_family
from .readers.options import Ground
from .resample import at_most, at_rate
from .skeleton_onto import clip_onto, clip_onto_feet, skeleton_onto
from .smpl_onto import has_smpl_hinges, smpl_onto
from .source import JointMotion, SkeletonMotion, SourceMotion

SHIPPED_FORMAT = "deepmimic"
"""The format of the shipped clips' sources: `auto` keeps its original processing, so that the clips can be reproduced."""
RATE = 60.0
"""Frames per second for inverse kinematics, which smooths by frames."""


@dataclass(frozen=True)
class _Family:
    """Skeletons whose rotations are the hinge angles of some robots.

    Attributes:
        fits: whether a robot has such hinges.
        onto: (motion, such a robot) -> the clip, not yet on the ground; closed if it wraps.
        touching: the same, on the ground wherever the original body touches it.
    """

    fits: Callable[[Robot], bool]
    onto: Callable[[SkeletonMotion, Robot], Clip]
    touching: Callable[[SkeletonMotion, Robot], Clip]


FAMILIES = {
    smpl_family.FAMILY: _Family(
        has_smpl_hinges, smpl_onto, lambda motion, robot: shifted(smpl_onto(motion, robot), robot)
    ),
    humanoid3d.FAMILY: _Family(has_humanoid_hinges, partial(humanoid_onto, touch=False), humanoid_onto),
}


def retarget(source: SourceMotion, robot: Robot) -> Clip:
    """The clip alone; see `fitted`."""
    return fitted(source, robot).clip


def fitted(source: SourceMotion, robot: Robot, roles: Roles | None = None, ground: Ground = "auto") -> Fitted:
    """The motion as the robot would perform it, on the ground, with its joint names, rate, source and licence.

    Args:
        roles: of the skeleton's bodies, if the user specifies them.
        ground: see `grounding`.

    Raises:
        UserError: these are another robot's joints, or the skeleton cannot be retargeted to the robot.
    """
    if isinstance(source, JointMotion):
        thinned = at_most(source)
        done = _joints_onto(thinned, robot, ground)
        done = replace(done, clip=replace(done.clip, fps=thinned.fps))
    else:
        done = _skeleton_onto(source, robot, roles, ground)
    clip = done.clip
    facts = {"robot": robot.name, "joint_names": robot.joint_names, "fps": clip.fps}
    doubts = (*source.warnings, *clip.warnings)
    whole = replace(rounded(clip), **facts, source=source.source, licence=source.licence, warnings=doubts)
    return replace(done, clip=whole)


def _skeleton_onto(source: SkeletonMotion, robot: Robot, roles: Roles | None, ground: Ground) -> Fitted:
    """The clip, with its rate."""
    family = FAMILIES.get(source.skeleton.family) if roles is None else None
    is_as_shipped = source.format == SHIPPED_FORMAT and ground == "auto"
    if family and family.fits(robot):
        thinned = at_most(source)
        clip = (family.touching if ground in ("auto", "feet") else family.onto)(thinned, robot)
        done = Fitted(clip) if is_as_shipped else grounded(clip, robot, ground, wraps=source.wraps)
        whole = cycles.repeat(done.clip) if source.wraps else done.clip
        return replace(done, clip=replace(whole, fps=thinned.fps, warnings=clip.warnings))
    for name in robot_names() if family else ():
        between = get_robot(name)
        if family and family.fits(between) and has_body_map(robot):
            one = family.touching(at_rate(source, RATE), between)
            there = rounded(cycles.repeat(one) if source.wraps else one)
            there = replace(there, robot=name, fps=RATE, warnings=one.warnings)
            if is_as_shipped:
                return Fitted(clip_onto(there, between, robot))
            return clip_onto_feet(there, between, robot, ground, wraps=source.wraps)
    skeleton, roles = source.skeleton, roles or roles_of(source.skeleton.names)
    if roles:
        return skeleton_onto(at_rate(source, RATE), roles, robot, ground)
    problem = f"{source.file}: what is what in its skeleton is not known ({', '.join(skeleton.names[:3])}, ...)"
    raise UserError(
        problem, f"Write a map: protege sim motions map {source.file} --robot {robot.name} --output map.yaml"
    )


def _joints_onto(source: JointMotion, robot: Robot, ground: Ground) -> Fitted:
    """The clip; a cycle is closed, without exceeding limits that the source keeps, and repeated."""
    clip = joints_onto(source, robot)
    if not source.wraps:
        return own_joints_grounded(clip, robot, ground)
    low, high = robot.joint_range().double().numpy().T
    least, most = np.minimum(low, clip.joint_pos), np.maximum(high, clip.joint_pos)
    closed = cycles.close(clip, cycles.SEAM)
    closed = replace(closed, joint_pos=closed.joint_pos.clip(least, most))
    done = own_joints_grounded(closed, robot, ground, wraps=True)
    return replace(done, clip=replace(cycles.repeat(done.clip), warnings=cycles.gap(clip, robot.joint_names)))
