"""Any skeleton's motion onto any robot, by the roles of its bodies and inverse kinematics."""

from dataclasses import replace

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from .anatomy import Roles, in_skeleton, shipped_maps
from .contacts import Stand, stands
from .feet import pinned
from .ground import put_feet_on_ground, put_on_ground, rounded, smooth, within_limits
from .inverse_kinematics import Goals, goals, solve
from .source import SkeletonMotion
from .surface import trace
from .world_poses import WorldPoses, of_clip, of_motion

LEG = 0.8
"""m from hip to ankle of a grown person."""
TILTED = np.radians(30.0)
"""A sole that is off the level by more, on average, while it stands on it is not of a foot as it is known here."""
ENOUGH = 5
"""Frames on a flat sole that tell how it lies."""


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
    """A skeleton's motion, of 60 Hz, as the robot would move, smooth, within its limits, its feet on the ground.

    Raises:
        UserError: the robot does not say how it follows other skeletons.
    """
    poses = of_motion(motion)
    standing = _standing(motion.time, poses, roles)
    wanted = level_soles(goals(poses, roles, robot), standing)
    moved = within_limits(smooth(_clip(motion.name, motion.time, solve(robot, wanted))), robot)
    on_feet = [one.foot for one in standing]
    return pinned(put_feet_on_ground(moved, robot, on_feet), robot, on_feet)


def _standing(time: np.ndarray, poses: WorldPoses, roles: Roles) -> tuple[Stand, Stand]:
    """When each foot stands."""

    def places(part: str) -> np.ndarray:
        named = [roles.get(f"{side}_{part}", roles[f"{side}_ankle"]) for side in ("left", "right")]
        return np.stack([poses.pos[:, poses.index(name)] for name in named], axis=1)

    leg = np.linalg.norm(poses.rest_pos[poses.index(roles["left_ankle"])] - poses.rest_pos[poses.index(roles["left_hip"])])
    return stands(time, places("ankle"), places("toe"), float(leg) / LEG)


def level_soles(wanted: Goals, standing: tuple[Stand, Stand]) -> Goals:
    """The goals with feet level on average while they stand on heel and ball: a file's rest need not have level soles."""
    rotations = dict(wanted.rotations)
    for target in wanted.targets:
        side, _, part = target.role.partition("_")
        if part not in ("ankle", "toe"):
            continue
        stand = standing[0 if side == "left" else 1]
        still = stand.flat if part == "ankle" else stand.ball
        turn = torch.from_numpy(np.ascontiguousarray(rotations[target.body]))
        if still.sum() < ENOUGH:
            continue
        z = torch.tensor([0.0, 0.0, 1.0], dtype=turn.dtype).expand(len(turn), 3)
        up = R.rotate_inverse(turn, z)[torch.from_numpy(still)].median(dim=0).values
        axis = torch.stack([-up[1], up[0], torch.zeros_like(up[0])])  # z x up
        sine = axis.norm()
        if not 1e-6 < float(torch.atan2(sine, up[2])) < TILTED:
            continue
        lean = R.from_axis_angle(axis / sine, torch.atan2(sine, up[2]))
        rotations[target.body] = R.multiply(turn, lean.expand_as(turn)).numpy()
    return replace(wanted, rotations=rotations)


def _clip(name: str, time: np.ndarray, qpos: np.ndarray) -> Clip:
    return Clip(name, time, qpos[:, :3], qpos[:, 3:7], qpos[:, 7:])
