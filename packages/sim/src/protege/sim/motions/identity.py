"""A robot's own motion onto that robot: joints are assigned by name, or by order, which the file's bodies confirm."""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.runs import plain_yaml

from ..robots import get_robot, robot_names
from .source import JointMotion

MAX_BODY_DISTANCE = 0.02
"""m, largest mean distance of bodies from the file's: models of a robot differ by millimetres, other orders by more."""
PROBED_FRAMES = 40
"""Number of frames in which it is checked."""


def joints_onto(motion: JointMotion, robot: Robot) -> Clip:
    """The clip with its joints in the robot's order. Nothing else is changed.

    Raises:
        UserError: these are not the robot's joints, or their order cannot be determined.
    """
    names = motion.joint_names or _names_by_order(motion, robot)
    at_zero = set(motion.at_zero) | {
        name for entry in _orders() if _fits(entry, motion, robot) for name in entry["at_zero"]
    }
    unknown = [name for name in names if name not in robot.joint_names]
    missing = [name for name in robot.joint_names if name not in names and name not in at_zero]
    if unknown or missing:
        raise _other_joints(motion, robot, unknown, missing)
    joint_pos = np.zeros((len(motion.time), robot.num_joints))
    for column, name in enumerate(names):
        joint_pos[:, robot.joint_names.index(name)] = motion.joint_pos[:, column]
    return Clip(motion.name, motion.time, motion.root_pos_w, motion.root_quat_w, joint_pos)


def robot_of(motion: JointMotion, but: Robot | None = None) -> str:
    """The name of the first installed robot that fits a motion; empty if none does.

    Args:
        but: a robot that is excluded.
    """
    known = [get_robot(name) for name in robot_names() if but is None or name != but.name]
    if motion.joint_names:
        return next((one.name for one in known if set(motion.joint_names) == set(one.joint_names)), "")
    return next((one.name for one in known if motion.joint_pos.shape[1] in map(len, _candidates(motion, one))), "")


def _names_by_order(motion: JointMotion, robot: Robot) -> tuple[str, ...]:
    """The joints of columns without names.

    Raises:
        UserError: their number is different, or the file's bodies are not where these joints would put them.
    """
    candidates = [names for names in _candidates(motion, robot) if len(names) == motion.joint_pos.shape[1]]
    if not candidates:
        raise _other_count(motion, robot)
    off = {names: _distance(motion, robot, names) for names in candidates}
    if motion.body_pos_w is not None and None in off.values():
        problem = f"{motion.file} does not name its joints, and its {motion.body_pos_w.shape[1]} bodies do not tell their order"
        raise UserError(problem, f"Add joint_names to it; {robot.name} has {robot.num_bodies} bodies")
    best = min(candidates, key=lambda names: off[names] or 0.0)
    distance = off[best]
    if distance is not None and distance > MAX_BODY_DISTANCE:
        raise UserError(
            f"{motion.file}: its bodies are {distance:.2f} m from where {robot.name} would have them, on average",
            f"Is it a motion of {robot.name}, with the quaternions in this order (--quat)?",
        )
    return best


def _candidates(motion: JointMotion, robot: Robot) -> Iterator[tuple[str, ...]]:
    """Possible orders of a robot's joints: its model's, depth first; breadth first, as in Isaac Lab; and known others."""
    yield robot.joint_names
    if motion.body_pos_w is not None:  # only the bodies can tell
        yield tuple(robot.joints[i].name for i in _breadth_first(robot)[1])
    for entry in _orders():
        if _fits(entry, motion, robot):
            yield tuple(name for name in robot.joint_names if name not in entry["at_zero"])


def _distance(motion: JointMotion, robot: Robot, names: Sequence[str]) -> float | None:
    """m, mean distance of the bodies from the file's in some frames; None if the file has none, or other ones."""
    bodies = _bodies(motion, robot, names)
    if bodies is None or motion.body_pos_w is None:
        return None
    mine, theirs = bodies
    frames = np.unique(np.linspace(0, len(motion.time) - 1, PROBED_FRAMES).round().astype(int))
    joint_pos = np.zeros((len(frames), robot.num_joints))
    joint_pos[:, [robot.joint_names.index(name) for name in names]] = motion.joint_pos[frames]
    pose = (motion.root_pos_w[frames], motion.root_quat_w[frames], joint_pos)
    pos, _ = Kinematics(robot).double()(*map(torch.from_numpy, pose))
    off = pos[:, mine].numpy() - motion.body_pos_w[frames][:, theirs]
    return float(np.linalg.norm(off, axis=-1).mean())


def _bodies(motion: JointMotion, robot: Robot, names: Sequence[str]) -> tuple[list[int], list[int]] | None:
    """Indices of bodies of the robot, and of the same bodies in the file."""
    if motion.body_names:
        shared = [name for name in robot.body_names if name in motion.body_names]
        mine, theirs = [robot.body_names.index(x) for x in shared], [motion.body_names.index(x) for x in shared]
        return (mine, theirs) if len(shared) > 1 else None
    if motion.body_pos_w is None or motion.body_pos_w.shape[1] != robot.num_bodies:
        return None
    is_depth_first = tuple(names) == robot.joint_names
    return (list(range(robot.num_bodies)) if is_depth_first else _breadth_first(robot)[0]), list(
        range(robot.num_bodies)
    )


def _breadth_first(robot: Robot) -> tuple[list[int], list[int]]:
    """Indices of the bodies, generation by generation, and of the joints in the order of their bodies."""
    bodies = [0]
    for body in bodies:  # which grows during the loop
        bodies += [child for child, parent in enumerate(robot.parents) if parent == body]
    joints = [i for body in bodies for i, joint in enumerate(robot.joints) if joint.body == robot.body_names[body]]
    return bodies, joints


@cache
def _orders() -> tuple[dict[str, Any], ...]:
    """Known orders of joints of some formats, from maps/joint_orders.yaml."""
    data: Any = plain_yaml.read(files(__package__).joinpath("maps", "joint_orders.yaml").read_bytes())
    return tuple(data["orders"])


def _fits(entry: dict[str, Any], motion: JointMotion, robot: Robot) -> bool:
    """Whether a known order applies to this motion."""
    is_named = (entry["format"], entry["robot"]) == (motion.format, robot.name)
    return is_named and motion.joint_pos.shape[1] == robot.num_joints - len(entry["at_zero"])


def _other_count(motion: JointMotion, robot: Robot) -> UserError:
    joints = motion.joint_pos.shape[1]
    fits = robot_of(motion, but=robot)
    remedy = f"Add --robot {fits}" if fits else f"Name its columns as {robot.name} names its joints"
    return UserError(f"{motion.file} has {joints} joints without names, {robot.name} has {robot.num_joints}", remedy)


def _other_joints(motion: JointMotion, robot: Robot, unknown: list[str], missing: list[str]) -> UserError:
    fits = robot_of(motion, but=robot)
    remedy = f"Add --robot {fits}" if fits else f"Retarget it, or name its columns as {robot.name} names its joints"
    parts = [f"the joints {_some(unknown)}, which {robot.name} has not"] if unknown else []
    parts += [f"no columns of {_some(missing)}"] if missing else []
    return UserError(f"{motion.file} has {', and '.join(parts)}", remedy)


def _some(names: Sequence[str], most: int = 4) -> str:
    """The first few names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
