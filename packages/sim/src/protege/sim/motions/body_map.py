"""How a robot follows other skeletons: its file `retarget.yaml`, beside its robot.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.runs import plain_yaml

from ..robots import file_beside
from .anatomy import LEGS, OPTIONAL, ROLES, Roles, limb

RETARGET_FILE = "retarget.yaml"
LINE_FORMAT = "BODY: {role: ROLE, after: BODY, position: COST, rotation: COST}"


@dataclass(frozen=True)
class Target:
    """What a body of the robot follows.

    Attributes:
        body: of the robot.
        role: the part of the body that it follows, see `anatomy.ROLES`.
        after: the mapped body relative to which its place is measured; empty for the root.
        position: cost of a position error, per m. At 0 the body is fixed to `after`, as a shoulder is to the torso.
        rotation: cost of a rotation error, per rad.
    """

    body: str
    role: str
    after: str = ""
    position: float = 0.0
    rotation: float = 0.0


def has_body_map(robot: Robot) -> bool:
    """Whether a robot has a file that maps its bodies to roles."""
    return file_beside(robot, RETARGET_FILE) is not None


@cache
def body_map(robot: Robot) -> tuple[Target, ...]:
    """The robot's targets, the root's first.

    Raises:
        UserError: the file is missing, names an unknown body, role or key, or lacks a role.
    """
    file = file_beside(robot, RETARGET_FILE)
    if file is None:
        remedy = f"Write {RETARGET_FILE} beside its robot.yaml, a line a body: {LINE_FORMAT}"
        raise UserError(f"the robot {robot.name} does not say how it follows other skeletons", remedy)
    try:
        data = plain_yaml.read_file(file)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file} ({error})", f"Write one line per body: {LINE_FORMAT}") from error
    if not isinstance(data, dict) or not data:
        raise UserError(f"{file} holds no bodies", f"Write one line per body: {LINE_FORMAT}")
    targets = list[Target]()
    for body, entry in data.items():
        targets.append(_target(file, robot, str(body), entry, {target.body for target in targets}))
    if missing := [role for role in LEGS if role not in {target.role for target in targets}]:
        raise UserError(f"{file} lacks the role {missing[0]}", f"Add {LINE_FORMAT}")
    return tuple(targets)


def _target(file: Path, robot: Robot, body: str, entry: Any, before: set[str]) -> Target:
    keys = [field.name for field in fields(Target)][1:]
    if not isinstance(entry, Mapping) or not entry.keys() <= set(keys) or "role" not in entry:
        raise UserError(f"{file}: {body} is not of the form {{role: ..., ...}}", f"Write {LINE_FORMAT}")
    target = Target(body, **entry)
    if body not in robot.body_names:
        raise UserError(f"{file}: {robot.name} has no body {body}", f"It has {', '.join(robot.body_names)}")
    if target.role not in ROLES:
        raise UserError(f"{file}: {body} has an unknown role {target.role!r}", f"Known: {', '.join(ROLES)}")
    if not before and (body != robot.body_names[0] or not target.position):
        raise UserError(f"{file} does not begin with the root", f"Put {robot.body_names[0]}, with a position, first")
    if before and target.after not in before:
        raise UserError(f"{file}: {body} comes after {target.after or 'nothing'}", "Name a body of a line above it")
    if not all(isinstance(cost, int | float) and cost >= 0.0 for cost in (target.position, target.rotation)):
        raise UserError(f"{file}: {body} has a cost below 0", "Take 0 or more")
    return target


def followed(targets: tuple[Target, ...], roles: Roles) -> tuple[Target, ...]:
    """The targets for which a skeleton has parts: optional ones, such as toes, may be missing.

    A limb's rotation is determined by its ends: a forearm without a wrist on either side is not rotated.
    """
    mapped = [target for target in targets if target.role in roles]
    assert all(target.role in OPTIONAL for target in targets if target not in mapped)
    bodies, mine = {target.body for target in mapped}, {target.role for target in mapped}
    mapped = [target for target in mapped if not target.after or target.after in bodies]
    return tuple(
        target if all(end in mine for end in limb(target.role)) else replace(target, rotation=0.0) for target in mapped
    )
