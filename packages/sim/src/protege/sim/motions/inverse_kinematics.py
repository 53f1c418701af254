"""Retargeting: another skeleton's motion for a robot, by inverse kinematics (mink) of the bodies that have roles.

Each of these bodies gets a target position, built from the root outwards: the source's direction from one part to the next, times
the robot's own length of that segment. So limbs of any length bend like the source's and reach as far as they can. Some bodies also
get the source's rotation. A quadratic program per step finds joint angles within the limits (Zakka, mink, 2026).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot

from ..engine import mujoco
from ..motions_extra import needs_motions_extra
from ..robots.mjcf import build_spec
from .anatomy import PartRotations, Roles, limb
from .body_map import Target, body_map, followed
from .world_poses import WorldPoses, robot_poses

if TYPE_CHECKING:
    import mink

STEPS, FIRST_STEPS = 8, 200
"""Steps towards a frame's targets from the previous frame; for the first frame, from the default pose."""
LEAD_IN_FRAMES = 60
"""Frames at a cycle's end that are solved before its first one."""
ARM_CLEARANCE, CLEARANCE_DETECTION = 0.02, 0.06
"""m: least distance of arms from legs, and distance from which on it is monitored: thicker limbs would intersect."""
POSTURE_COST = 0.03
"""Cost of the distance from the default pose, which undetermined angles, such as a forearm's roll, stay close to."""
DAMPING = 1e-3
MAX_JOINT_SPEED = 30.0
"""rad/s, largest joint speed. Motors and people are slower; a jump to another solution is faster."""
SETTLED_STEP = 2e-3
"""m and rad: in a new import, a frame is finished when a step is shorter."""
SAME_ROTATION = 1e-3
"""rad: rest frames that differ by less count as equal, because model files are rounded."""
LEG_ROLES = ("left_hip", "left_knee", "left_ankle")


@dataclass(frozen=True)
class Aims:
    """Target poses of the robot's bodies, T frames, world frame.

    Attributes:
        targets: the bodies with targets.
        positions: (T, 3) m, by body.
        rotations: (T, 4), by body.
        scale: ratio of the root's travel and height to the source's.
    """

    targets: tuple[Target, ...]
    positions: Mapping[str, np.ndarray]
    rotations: Mapping[str, np.ndarray]
    scale: float


def aims(poses: WorldPoses, roles: Roles, robot: Robot) -> Aims:
    """The target poses that a robot's bodies have to follow.

    Args:
        poses: of the source, T frames.
        roles: roles of its bodies.

    Raises:
        UserError: the robot has no map to other skeletons.
    """
    targets, turns = followed(body_map(robot), roles), PartRotations(poses, roles)
    pos, quat = robot_poses(robot, np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]]), np.zeros((1, robot.num_joints)))
    mine = dict(zip(robot.body_names, pos[0], strict=True))
    zero = dict(zip(robot.body_names, map(_snapped, quat[0]), strict=True))
    bodies = {target.role: target.body for target in targets}
    role = {target.body: target.role for target in targets}

    def there(body: str) -> np.ndarray:
        return poses.pos[:, poses.index(roles[role[body]])]

    def length(start: str, end: str) -> float:
        return float(np.linalg.norm(mine[end] - mine[start]))

    scale = sum(length(bodies[a], bodies[b]) for a, b in pairwise(LEG_ROLES))
    scale /= sum(turns.length(a, b) for a, b in pairwise(LEG_ROLES))
    turn: dict[str, np.ndarray] = {}
    for target in targets:
        ends = [bodies[end] for end in limb(target.role)] if target.rotation else []
        turn[target.body] = turns.of(target.role, mine[ends[1]] - mine[ends[0]] if ends else None)
    positions: dict[str, np.ndarray] = {}
    for target in targets:
        if not target.after:
            positions[target.body] = scale * there(target.body)
            continue
        if not target.position:
            offset = mine[target.body] - mine[target.after]
            positions[target.body] = positions[target.after] + _rotate(turn[target.after], offset)
            continue
        stretch = length(target.after, target.body) / turns.length(role[target.after], target.role)
        positions[target.body] = positions[target.after] + stretch * (there(target.body) - there(target.after))
    rotations = {body: _after(q, zero[body]) for body, q in turn.items()}
    return Aims(targets, positions, rotations, scale)


def _snapped(quat: np.ndarray) -> np.ndarray:
    """A rotation (4,), or the identity if it differs from that by rounding only."""
    return quat if 2.0 * np.linalg.norm(quat[1:]) > SAME_ROTATION else np.array([1.0, 0.0, 0.0, 0.0])


def _rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(T, 3): a vector (3,) rotated by rotations (T, 4)."""
    return R.rotate(torch.from_numpy(quat), torch.from_numpy(vector).expand(len(quat), 3)).numpy()


def _after(quat: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(T, 4): first one rotation (4,), then rotations (T, 4)."""
    turn = torch.from_numpy(quat)
    return R.multiply(turn, torch.from_numpy(first).expand_as(turn)).numpy()


def solve(
    robot: Robot, wanted: Aims, *, wraps: bool = False, step: float = math.inf, settled: float = 0.0
) -> np.ndarray:
    """(T, 7 + J): root position m, root rotation wxyz, joint angles rad, of T frames.

    Args:
        step: frame time, s: joints do not turn faster than `MAX_JOINT_SPEED`; inf for no limit.
        settled: m and rad, the search for a frame's joints ends with a step that is shorter.
        wraps: the last frame repeats the first pose: the first one is then searched for from the last second.

    Raises:
        UserError: the extra `motions` is not installed.
    """
    with needs_motions_extra("retargeting"):
        import mink

    model = build_spec(robot).compile()
    rest = np.concatenate([[0.0, 0.0, robot.root_height, 1.0, 0.0, 0.0, 0.0], robot.default_joint_pos])
    configuration = mink.Configuration(model, rest)
    posture = mink.PostureTask(model, cost=POSTURE_COST)
    posture.set_target(rest)
    targets = [target for target in wanted.targets if target.position or target.rotation]
    tasks = [mink.FrameTask(target.body, "body", target.position, target.rotation) for target in targets]
    limits = _limits(robot, model)
    positions = {target.body: wanted.positions[target.body] for target in targets}
    root, count = positions[robot.body_names[0]], len(positions[robot.body_names[0]])
    order = [*range(count - LEAD_IN_FRAMES, count - 1), *range(count)] if wraps else range(count)
    frames, before = [], order[0]
    for frame in order:
        if frame < before:  # from the lead-in's end to the first frame
            configuration.update(configuration.q + np.r_[root[0] - root[-1], np.zeros(model.nq - 3)])
        before = frame
        for target, task in zip(targets, tasks, strict=True):
            rotation = mink.SO3(wanted.rotations[target.body][frame])
            task.set_target(mink.SE3.from_rotation_and_translation(rotation, positions[target.body][frame]))
        held = [*limits, _near(model, frames[-1], MAX_JOINT_SPEED * step)] if frames and math.isfinite(step) else limits
        for _ in range(STEPS if frames else FIRST_STEPS):
            velocity = mink.solve_ik(configuration, [*tasks, posture], 1.0, "daqp", DAMPING, limits=held)
            configuration.integrate_inplace(velocity, 1.0)
            if np.abs(velocity).max() < settled:
                break
        frames.append(configuration.q.copy())
    return np.stack(frames[-count:])


def _limits(robot: Robot, model: mujoco.MjModel) -> "list[mink.Limit]":
    """The joints' ranges, and the distance of arms from legs."""
    import mink

    arms, legs = (
        [geom for name in names for geom in mink.get_body_geom_ids(model, model.body(name).id)]
        for names in _arms_and_legs(robot)
    )
    limits: list[mink.Limit] = [mink.ConfigurationLimit(model)]
    if arms and legs:
        limits.append(mink.CollisionAvoidanceLimit(model, [(arms, legs)], 0.5, ARM_CLEARANCE, CLEARANCE_DETECTION))
    return limits


def _near(model: mujoco.MjModel, qpos: np.ndarray, reach: float) -> "mink.Limit":
    """A limit that keeps joints within `reach` rad of a pose (7 + J,)."""
    import mink

    class Near(mink.Limit):
        def compute_qp_inequalities(self, configuration: mink.Configuration, dt: float) -> mink.Constraint:
            turn = np.eye(model.nv)[6:]
            off = configuration.q[7:] - qpos[7:]
            return mink.Constraint(np.vstack([turn, -turn]), np.concatenate([reach - off, reach + off]).clip(0.0))

    return Near()


def _arms_and_legs(robot: Robot) -> tuple[set[str], set[str]]:
    """Names of the bodies from the hands up to the torso, and from the feet up to the root, which counts as a leg."""
    parents = {body.name: body.parent for body in robot.bodies}

    def up(names: tuple[str, ...], end: str | None) -> set[str]:
        found = set()
        for name in names:
            at: str | None = name
            while at is not None and at != end:
                found.add(at)
                at = parents[at]
        return found

    groups = robot.groups
    hands, feet = groups.left_hand + groups.right_hand, groups.left_foot + groups.right_foot
    return up(hands, groups.torso), up(feet, None)
