"""Retargeting: another robot's motion for this one, by inverse kinematics (mink) of the bodies that a map names.

Each mapped body gets a target place, built from the root outwards: the source's direction from one mapped body to the next, times
the robot's own length of that segment. So limbs of any length bend as the source's do, and reach what they can. Some bodies get
the source's rotation as well. A quadratic program per step finds joint angles within the limits (Zakka, mink, 2026).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.runs import plain_yaml

from ..robots.mjcf import build_spec
from .ground import put_on_ground, rounded, smooth, within_limits
from .surface import trace

STEPS, FIRST_STEPS = 8, 200
"""Steps towards a frame's targets from the frame before; towards the first one's from the default pose."""
LEAD_IN = 60
"""Frames of a cycle's end that are solved before its first one."""
CLEARANCE, REACH = 0.02, 0.06
"""m, that arms keep from legs, and from which on they are watched: limbs of another thickness would go through each other."""
POSTURE = 0.03
"""Cost of the distance from the default pose: what is left open, such as a forearm's roll, stays near it."""
DAMPING = 1e-3


@dataclass(frozen=True)
class Target:
    """What a body of the robot follows.

    Attributes:
        body: of the robot.
        follows: of the source.
        after: the mapped body that its place is measured from; empty for the root.
        position: cost of being off its place, per m. At 0 it is fixed to `after`, as a shoulder is to the torso.
        rotation: cost of being turned off, per rad.
    """

    body: str
    follows: str
    after: str = ""
    position: float = 0.0
    rotation: float = 0.0


@dataclass(frozen=True)
class BodyMap:
    """Targets, the root's first; `legs`: hip, knee and ankle of the robot, mapped, whose length scales the root's way."""

    targets: tuple[Target, ...]
    legs: tuple[str, ...]


def has_map(source: str, robot: str) -> bool:
    """Whether this package can retarget clips of a source to a robot."""
    return _map_file(source, robot).is_file()


def _map_file(source: str, robot: str) -> Traversable:
    return files(__package__).joinpath("maps", f"{source}_to_{robot}.yaml")


@cache
def body_map(source: str, robot: str) -> BodyMap:
    """The map of this package from a source's skeleton to a robot.

    Raises:
        UserError: there is none.
    """
    file = _map_file(source, robot)
    if not file.is_file():
        raise UserError(
            f"no map retargets clips of {source} to {robot}", f"Add {source}_to_{robot}.yaml to motions/maps"
        )
    data: Mapping[str, Any] = plain_yaml.read(file.read_bytes())
    return BodyMap(tuple(Target(body, **entry) for body, entry in data["bodies"].items()), tuple(data["legs"]))


def on_robot(clip: Clip, source: Robot, robot: Robot) -> Clip:
    """A source's clip, of 60 Hz, as the robot would move, smooth, within its limits and on the ground.

    Raises:
        UserError: there is no map from the source to the robot.
    """
    moved, scale = retarget(clip, source, robot, body_map(source.name, robot.name))
    wraps, clearance = clip.is_cyclic, scale * trace(clip, source).height.min(axis=1)
    moved = smooth(moved, wraps=wraps)  # an arm that makes way for a leg jumps aside
    grounded = put_on_ground(within_limits(moved, robot), robot, clearance, wraps=wraps)
    facts = {"robot": robot.name, "joint_names": robot.joint_names, "fps": clip.fps, "source": clip.source}
    return replace(rounded(grounded), **facts, licence=clip.licence, warnings=clip.warnings)


def retarget(clip: Clip, source: Robot, robot: Robot, bodies: BodyMap) -> tuple[Clip, float]:
    """A source's clip as the robot would move, not yet put on the ground.

    Args:
        clip: of the source, T frames.
        bodies: see `body_map`.

    Returns:
        the robot's clip of T frames at the same times, in the world frame, and the scale of the root's way and height.
    """
    places, rotations, scale = _targets(clip, source, robot, bodies)
    qpos = _solve(robot, bodies, places, rotations, wraps=clip.is_cyclic)
    motion = {"root_pos_w": qpos[:, :3], "root_quat_w": qpos[:, 3:7], "joint_pos": qpos[:, 7:]}
    return replace(clip, **motion), scale


def _targets(
    clip: Clip, source: Robot, robot: Robot, bodies: BodyMap
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Of each mapped body its place (T, 3) m and rotation (T, 4), world frame, and the scale of the root's way."""
    there = _poses(source, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    zero = np.zeros((1, 3)), np.array([[1.0, 0.0, 0.0, 0.0]])
    rest = _poses(source, *zero, np.zeros((1, source.num_joints)))
    mine = _poses(robot, *zero, np.zeros((1, robot.num_joints)))
    follows = {target.body: target.follows for target in bodies.targets}

    def length(poses: dict[str, tuple[np.ndarray, np.ndarray]], start: str, end: str) -> float:
        return float(np.linalg.norm(poses[end][0] - poses[start][0]))

    legs = list(zip(bodies.legs, bodies.legs[1:], strict=False))
    scale = sum(length(mine, a, b) for a, b in legs) / sum(length(rest, follows[a], follows[b]) for a, b in legs)
    places: dict[str, np.ndarray] = {}
    for target in bodies.targets:
        if not target.after:
            places[target.body] = scale * there[target.follows][0]
            continue
        if not target.position:
            offset = mine[target.body][0] - mine[target.after][0]
            places[target.body] = places[target.after] + _rotate(there[follows[target.after]][1], offset)
            continue
        start = follows[target.after]
        stretch = length(mine, target.after, target.body) / length(rest, start, target.follows)
        offset = there[target.follows][0] - there[start][0]
        places[target.body] = places[target.after] + stretch * offset
    return places, {target.body: there[target.follows][1] for target in bodies.targets}, scale


def _poses(robot: Robot, *pose: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Places (T, 3) m and rotations (T, 4) of a robot's bodies by name, from root and joints."""
    pos, quat = Kinematics(robot).double()(*(torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in pose))
    return {name: (pos[:, i].numpy(), quat[:, i].numpy()) for i, name in enumerate(robot.body_names)}


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


def _rotate(quat: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """(T, 3): a vector (1, 3) turned by rotations (T, 4)."""
    return R.rotate(torch.from_numpy(quat), torch.from_numpy(vector).expand(len(quat), 3)).numpy()


def _solve(
    robot: Robot, bodies: BodyMap, places: Mapping[str, np.ndarray], rotations: Mapping[str, np.ndarray], *, wraps: bool
) -> np.ndarray:
    """(T, 7 + J): root position m, root rotation wxyz, joint angles rad.

    wraps: the last frame is the first one's pose: the first is then searched for from the last second, as the last one is.
    """
    import mink

    model = build_spec(robot).compile()
    rest = np.concatenate([[0.0, 0.0, robot.root_height, 1.0, 0.0, 0.0, 0.0], robot.default_joint_pos])
    configuration = mink.Configuration(model, rest)
    posture = mink.PostureTask(model, cost=POSTURE)
    posture.set_target(rest)
    targets = [target for target in bodies.targets if target.position or target.rotation]
    tasks = [mink.FrameTask(target.body, "body", target.position, target.rotation) for target in targets]
    arms, legs = (
        [geom for name in names for geom in mink.get_body_geom_ids(model, model.body(name).id)]
        for names in _arms_and_legs(robot)
    )
    limits: list[mink.Limit] = [mink.ConfigurationLimit(model)]
    if arms and legs:
        limits.append(mink.CollisionAvoidanceLimit(model, [(arms, legs)], 0.5, CLEARANCE, REACH))
    places = {target.body: places[target.body] for target in targets}
    root, count = places[robot.body_names[0]], len(places[robot.body_names[0]])
    order = [*range(count - LEAD_IN, count - 1), *range(count)] if wraps else range(count)
    frames, before = [], order[0]
    for frame in order:
        if frame < before:  # from the lead-in's end to the first frame
            configuration.update(configuration.q + np.r_[root[0] - root[-1], np.zeros(model.nq - 3)])
        before = frame
        for target, task in zip(targets, tasks, strict=True):
            rotation = mink.SO3(rotations[target.body][frame])
            task.set_target(mink.SE3.from_rotation_and_translation(rotation, places[target.body][frame]))
        for _ in range(STEPS if frames else FIRST_STEPS):
            velocity = mink.solve_ik(configuration, [*tasks, posture], 1.0, "daqp", DAMPING, limits=limits)
            configuration.integrate_inplace(velocity, 1.0)
        frames.append(configuration.q.copy())
    return np.stack(frames[-count:])
