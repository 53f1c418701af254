"""Rotations of soles, and times at which feet stand, from a source's ankles and toes."""

from dataclasses import replace

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from .anatomy import Roles
from .contacts import Stand, soles_stand, stands
from .inverse_kinematics import Aims
from .surface import trace
from .world_poses import WorldPoses, robot_poses

ADULT_LEG_LENGTH = 0.8
"""m from hip to ankle of an adult."""
MAX_SOLE_TILT = np.radians(30.0)
"""Largest tilt of a sole while it stands; a larger one means that the foot is of an unknown kind."""
MIN_FLAT_FRAMES = 5
"""Least number of frames on a flat sole from which its rotation is determined."""


def standing(time: np.ndarray, poses: WorldPoses, roles: Roles) -> tuple[Stand, Stand]:
    """When the left and the right foot of a source stand.

    Args:
        time: (T,) s, evenly spaced.
        poses: of the source, T frames.
        roles: roles of its bodies.
    """

    def places(part: str) -> np.ndarray:
        named = [roles.get(f"{side}_{part}", roles[f"{side}_ankle"]) for side in ("left", "right")]
        return np.stack([poses.pos[:, poses.index(name)] for name in named], axis=1)

    hip, knee, ankle = (poses.rest_pos[poses.index(roles[f"left_{part}"])] for part in ("hip", "knee", "ankle"))
    leg = np.linalg.norm(knee - hip) + np.linalg.norm(ankle - knee)
    return stands(time, poses.pos[:, 0], places("ankle"), places("toe"), float(leg) / ADULT_LEG_LENGTH)


def clip_standing(clip: Clip, robot: Robot) -> tuple[np.ndarray, np.ndarray]:
    """(T,) when the left and the right foot of a robot stand, by the points of its soles; T evenly spaced frames."""
    surface = trace(clip, robot)
    soles = []
    for names in (robot.groups.left_foot, robot.groups.right_foot):
        own = np.isin(surface.body, robot.body_ids(names))
        soles.append(np.concatenate([surface.points[:, own, :2], surface.height[:, own, None]], axis=-1))
    pos, _ = robot_poses(robot, np.zeros((1, 3)), clip.root_quat_w[:1], np.zeros((1, robot.num_joints)))
    chain = [robot.body_names.index(name) for name in leg_bodies(robot, robot.groups.left_foot[0])]
    leg = np.linalg.norm(np.diff(pos[0, chain], axis=0), axis=1).sum()
    return soles_stand(clip.time, clip.root_pos_w, soles[0], soles[1], float(leg) / ADULT_LEG_LENGTH)


def leg_bodies(robot: Robot, foot: str) -> list[str]:
    """Names of the bodies from a foot up to the hip, the last one below the root."""
    chain, body = list[str](), foot
    parents = {body.name: body.parent for body in robot.bodies}
    while parent := parents[body]:
        chain.append(body)
        body = parent
    return chain


def level_soles(wanted: Aims, feet: tuple[Stand, Stand]) -> Aims:
    """The target poses with soles that are level on average while on the ground; in a file's rest pose they may be tilted.

    Args:
        feet: when they stand; a foot's rotation is determined while it is flat, its toes' while the ball is down.
    """
    rotations = dict(wanted.rotations)
    for target in wanted.targets:
        side, _, part = target.role.partition("_")
        if part not in ("ankle", "toe"):
            continue
        stand = feet[0 if side == "left" else 1]
        still = stand.flat if part == "ankle" else stand.ball
        if still.sum() < MIN_FLAT_FRAMES:
            continue
        turn = torch.from_numpy(np.ascontiguousarray(rotations[target.body]))
        z = torch.tensor([0.0, 0.0, 1.0], dtype=turn.dtype).expand(len(turn), 3)
        up = R.rotate_inverse(turn, z)[torch.from_numpy(still)].median(dim=0).values
        axis = torch.stack([-up[1], up[0], torch.zeros_like(up[0])])  # z x up
        angle = torch.atan2(axis.norm(), up[2])
        if 1e-6 < float(angle) < MAX_SOLE_TILT:
            lean = R.from_axis_angle(axis / axis.norm(), angle)
            rotations[target.body] = R.multiply(turn, lean.expand_as(turn)).numpy()
    return replace(wanted, rotations=rotations)
