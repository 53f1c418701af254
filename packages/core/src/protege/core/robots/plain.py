"""A robot as plain data and back, and what of it a policy cannot do without."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .robot import Robot

MATTERS = ("joints", "bodies", "default_joint_pos", "control_dt", "self_collision", "excluded_pairs")
"""What a policy was trained with and cannot do without: not how physics is integrated, or where the camera is."""
ELEMENTS = {"joints": "joint", "bodies": "body"}
SHORT = 100
"""Characters of two values that are shown."""
IDLE = ("log_std", "looks")
"""What a trained policy does not notice: a joint's counts only when a training begins, a body's is for pictures."""


def to_plain(robot: Robot) -> dict[str, Any]:
    """Mappings, lists, texts and numbers, as a checkpoint holds them."""
    return _listed(asdict(robot))


def from_plain(data: Any) -> Robot:
    """The robot that `to_plain` gave. What a robot has gained since then takes its default.

    Raises:
        ValueError: naming the field that is missing, unknown or of another type.
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
    """The first thing in which two robots differ, in words: `joint knee has stiffness 99.0, not 80.0`; nothing if there is none.

    Args:
        was, now: the robot then, and today's.
        also: fields of `Robot` to compare besides `MATTERS`.
    """
    old, new = (dict(_facts(robot, (*MATTERS, *also))) for robot in (was, now))
    for element, name in [*old, *new]:
        before, after = (facts.get((element, name)) for facts in (old, new))
        if (element, name) not in new:
            return f"{element} is gone"
        if (element, name) not in old:
            return f"{element} is new"
        if before != after:
            is_short = len(f"{before}{after}") < SHORT
            return f"{element} has {name} {after}, not {before}" if is_short else f"{element} has other {name}"
    return ""


def _facts(robot: Robot, names: tuple[str, ...]) -> Iterator[tuple[tuple[str, str], Any]]:
    """Element and field, and its value."""
    for name in names:
        value = getattr(robot, name)
        if name not in ELEMENTS:
            yield ("the robot", name), value
            continue
        for item in value:
            facts = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in (*IDLE, "name")}
            yield from (((f"{ELEMENTS[name]} {item.name}", x), y) for x, y in facts.items())


def _listed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _listed(x) for name, x in value.items()}
    return [_listed(x) for x in value] if isinstance(value, list | tuple) else value


def _built(kind: Any, data: Any, where: str) -> Any:
    """Data as the type says: dataclasses of mappings, tuples of lists, and texts, numbers and truth values."""
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
            raise ValueError(f"{where} is no list of its length")
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
