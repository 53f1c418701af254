"""Conversion of a robot to plain data and back, and comparison of two robots."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..plain_data import listed
from .robot import Robot

COMPARED_FIELDS = ("joints", "bodies", "default_joint_pos", "control_dt", "self_collision", "excluded_pairs")
"""Fields that a trained policy depends on. The solver and the camera, for example, are not among them."""
ELEMENTS = {"joints": "joint", "bodies": "body"}
MAX_SHOWN = 100
"""Total characters of two values up to which an error shows them."""
IGNORED_FIELDS = ("log_std", "looks")
"""Fields of joints and bodies that do not affect a trained policy: initial exploration, and shapes for pictures."""


def to_plain(robot: Robot) -> dict[str, Any]:
    """Mappings, lists, strings and numbers, for a checkpoint."""
    return listed(asdict(robot))


def from_plain(data: Any) -> Robot:
    """Build a robot from the result of `to_plain`. Fields that are newer than the data take their defaults.

    Raises:
        ValueError: a field is missing, unknown or of the wrong type.
    """
    robot = _built(Robot, data, "robot")
    names, groups = robot.body_names, robot.groups
    if len(robot.default_joint_pos) != robot.num_joints:
        raise ValueError("robot.default_joint_pos is not one number a joint")
    for i, body in enumerate(robot.bodies):
        if (body.parent is None) != (i == 0) or (i and body.parent not in names[:i]):
            raise ValueError(f"robot.bodies[{i}] does not follow its parent")
    used = {joint.body for joint in robot.joints} | {
        *robot.feet,
        *robot.hands,
        groups.torso,
        groups.head,
        groups.imu.body,
    }
    if unknown := used - set(names):
        raise ValueError(f"robot has no body {min(unknown)!a:.40}")
    return robot


def first_difference(was: Robot, now: Robot, *also: str) -> str:
    """The first difference between two robots, such as `joint knee has stiffness 99.0, not 80.0`; empty if there is none.

    Args:
        was, now: the earlier and the current robot.
        also: fields of `Robot` to compare besides `COMPARED_FIELDS`.
    """
    old, new = (dict(_facts(robot, (*COMPARED_FIELDS, *also))) for robot in (was, now))
    for element, name in [*old, *new]:
        before, after = (facts.get((element, name)) for facts in (old, new))
        if (element, name) not in new:
            return f"{element} is gone"
        if (element, name) not in old:
            return f"{element} is new"
        if before != after:
            is_short = len(f"{before}{after}") < MAX_SHOWN
            return f"{element} has {name} {after}, not {before}" if is_short else f"{element} has other {name}"
    return ""


def _facts(robot: Robot, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], Any]]:
    """Element and field, with its value."""
    for name in names:
        value = getattr(robot, name)
        if name not in ELEMENTS:
            yield ("the robot", name), value
            continue
        for item in value:
            facts = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in (*IGNORED_FIELDS, "name")}
            yield from (((f"{ELEMENTS[name]} {item.name}", x), y) for x, y in facts.items())


def _built(kind: Any, data: Any, where: str) -> Any:
    """Convert data to a type: mappings to dataclasses, lists to tuples; strings, numbers and booleans are checked."""
    origin, parts = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        if not isinstance(data, Mapping) or set(data) - set(hints):
            raise ValueError(f"{where} is no {kind.__name__.lower()}")
        try:
            return kind(**{name: _built(hints[name], x, f"{where}.{name}") for name, x in data.items()})
        except TypeError as error:
            raise ValueError(f"{where} lacks a field: {error}") from error
    if origin is tuple:
        if not isinstance(data, list) or (parts[-1] is not ... and len(data) != len(parts)):
            raise ValueError(f"{where} is not a list of the right length")
        kinds = [parts[0]] * len(data) if parts[-1] is ... else parts
        return tuple(_built(item, x, f"{where}[{i}]") for i, (item, x) in enumerate(zip(kinds, data, strict=True)))
    if origin is UnionType:  # X | None
        return None if data is None and NoneType in parts else _built(parts[0], data, where)
    if origin is Literal:
        fits = data in parts if isinstance(data, str) else False
    elif kind is float:
        fits = isinstance(data, int | float) and not isinstance(data, bool) and isfinite(data)
    else:
        fits = type(data) is kind
    if not fits:
        raise ValueError(f"{where} is {data!a:.40}")
    return float(data) if kind is float else data
