"""Roles of a skeleton's bodies, and their rotations relative to a standing robot.

A map assigns a body of the skeleton to each role, such as `left_knee`. A robot's own file (`retarget.yaml`) assigns roles to its
bodies. So any skeleton with a map can be retargeted to any robot with such a file.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protege.core.errors import UserError, shown
from protege.core.robots import rotation as R
from protege.core.runs import plain_yaml

from .world_poses import WorldPoses

SIDED = ("hip", "knee", "ankle", "toe", "shoulder", "elbow", "wrist")
ROLES = ("pelvis", "torso", "neck", "head", *(f"{side}_{part}" for side in ("left", "right") for part in SIDED))
"""The body of a role rotates with the part below or beyond that joint: `left_knee` is the left shank, from its upper end."""
OPTIONAL = {"neck", "head", "left_toe", "right_toe", "left_wrist", "right_wrist"}
REQUIRED = tuple(role for role in ROLES if role not in OPTIONAL)
LEGS = ("pelvis", *(f"{side}_{part}" for side in ("left", "right") for part in ("hip", "knee", "ankle")))
"""Least roles of a robot; it may have no arms."""
LIMBS = {
    "hip": ("hip", "knee"),
    "knee": ("knee", "ankle"),
    "shoulder": ("shoulder", "elbow"),
    "elbow": ("elbow", "wrist"),
    "wrist": ("elbow", "wrist"),
}
"""Parts whose rest pose may point anywhere, and the ends between which they point. A hand continues the forearm's direction."""
MAX_REST_BEND = np.radians(35.0)
"""Largest mean angle of legs and trunk to the vertical at which a skeleton with zero rotations counts as standing."""

Roles = Mapping[str, str]
"""Role -> name of a skeleton's body."""


@cache
def shipped_maps() -> dict[str, dict[str, Any]]:
    """The maps of this package by name: role -> a body's name, or several, of which the first existing one is used."""
    found = [file for file in files(__package__).joinpath("maps").iterdir() if file.name.endswith(".yaml")]
    maps = {file.name[:-5]: plain_yaml.read(file.read_bytes()) for file in sorted(found, key=lambda file: file.name)}
    return {name: data for name, data in maps.items() if "pelvis" in data}


def plain_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of bodies without their common prefix, such as `mixamorig:`."""
    last = [name.rsplit(":", 1)[-1] for name in names]
    common = 0
    while (
        len(last) > 1 and len({name[: common + 1] for name in last}) == 1 and all(len(name) > common for name in last)
    ):
        common += 1
    return tuple(name[common:] or name for name in last)


def roles_of(names: Sequence[str]) -> Roles | None:
    """The roles of a skeleton's bodies, by the first shipped map whose required roles all exist; None if there is no such map."""
    for data in shipped_maps().values():
        roles = in_skeleton(data, names)
        if all(role in roles for role in REQUIRED):
            return roles
    return None


def in_skeleton(data: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """The roles of a map for which a skeleton has bodies."""
    plain = plain_names(names)
    roles = {}
    for role, given in data.items():
        for candidate in [given] if isinstance(given, str) else given:
            if candidate in names or candidate in plain:
                roles[role] = candidate if candidate in names else names[plain.index(candidate)]
                break
    return roles


def read_map(path: Path, names: Sequence[str], file: str) -> Roles:
    """The roles that a user's map assigns to the bodies of a skeleton.

    Args:
        names: of the skeleton's bodies.
        file: name of the motion's file for messages.

    Raises:
        UserError: it cannot be read, names an unknown role, or assigns a role to no body or to a missing one.
    """
    shape = "Write ROLE: BODY, one a line, as `protege sim motions map` does"
    try:
        data = plain_yaml.read_file(path)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the map {path} ({error})", shape) from error
    if not isinstance(data, dict) or not all(isinstance(value, str | list) for value in data.values()):
        raise UserError(f"the map {path} holds no roles", shape)
    if unknown := [role for role in data if role not in ROLES]:
        raise UserError(f"the map {path} names a role {shown(str(unknown[0]), 40)!r}", f"Known: {', '.join(ROLES)}")
    roles = in_skeleton(data, names)
    for role, given in data.items():
        if role not in roles:
            raise UserError(f"{path}: {role}: {file} has no body {given}", f"It has {', '.join(names)}")
    if missing := [role for role in REQUIRED if role not in roles]:
        raise UserError(f"the map {path} lacks {', '.join(missing)}", f"Give them a body of {file}")
    return roles


def limb(role: str) -> tuple[str, ...]:
    """The roles between which a limb points; empty for a part that is upright at rest."""
    side, _, part = role.partition("_")
    return tuple(f"{side}_{end}" for end in LIMBS.get(part, ()))


class PartRotations:
    """Rotations of a skeleton's parts, as those of a robot's bodies that stands and faces x while they are at rest.

    A skeleton with zero rotations need not stand (LAFAN1's does not). Its most upright frame is then used as the rest pose.

    Args:
        poses: world poses of a skeleton.
        roles: see `roles_of`.
    """

    def __init__(self, poses: WorldPoses, roles: Roles) -> None:
        self.poses, self.roles = poses, roles
        at_rest = self._bent(poses.rest_pos[None])[0]
        if poses.aligned or at_rest < MAX_REST_BEND:
            self.rest_pos, self.rest_quat = poses.rest_pos, poses.rest_quat
        else:
            frame = int(self._bent(poses.pos).argmin())
            self.rest_pos, self.rest_quat = poses.pos[frame], poses.quat[frame]
        left = self._place("left_hip") - self._place("right_hip")
        ahead = np.array([left[1], -left[0], 0.0])
        self.facing = _yaw(np.arctan2(ahead[1], ahead[0])) if not poses.aligned else np.array([1.0, 0.0, 0.0, 0.0])

    def _place(self, role: str) -> np.ndarray:
        return self.rest_pos[self.poses.index(self.roles[role])]

    def length(self, start: str, end: str) -> float:
        """Distance between two roles at rest, m."""
        return float(np.linalg.norm(self._place(end) - self._place(start)))

    def of(self, role: str, way: np.ndarray | None = None) -> np.ndarray:
        """(T, 4) the rotation of a role's part from a robot's zero pose.

        Args:
            way: (3,) the direction of its limb in the robot's zero pose: at rest the part points as the source's does, whether its
                arms are stretched out or hang. None for a part that is upright at rest.
        """
        index = self.poses.index(self.roles[role])
        rest = R.conjugate(torch.from_numpy(self.rest_quat[index].copy()))
        at_rest = torch.from_numpy(self.facing)
        if way is not None:
            at_rest = R.multiply(_arc(R.rotate(at_rest, torch.from_numpy(way)), self._limb(role)), at_rest)
        elif role.endswith(("ankle", "toe")) and not self.poses.aligned:
            at_rest = torch.from_numpy(self._foot(role.split("_")[0]))
        turn = torch.from_numpy(np.ascontiguousarray(self.poses.quat[:, index]))
        return R.multiply(turn, R.multiply(rest, at_rest).expand_as(turn)).numpy()

    def _limb(self, role: str) -> torch.Tensor:
        start, end = limb(role)
        return torch.from_numpy(self._place(end) - self._place(start))

    def _foot(self, side: str) -> np.ndarray:
        """(4,) rotation of a standing foot about the vertical: towards its toes."""
        if f"{side}_toe" not in self.roles:
            return self.facing
        x, y, _ = self._place(f"{side}_toe") - self._place(f"{side}_ankle")
        return _yaw(np.arctan2(y, x))

    def _bent(self, places: np.ndarray) -> np.ndarray:
        """(T,) rad, mean angle of legs and trunk to the vertical; places (T, B, 3)."""
        pairs = [
            (f"{side}_{a}", f"{side}_{b}")
            for side in ("left", "right")
            for a, b in (("knee", "hip"), ("ankle", "knee"))
        ]
        angles = []
        for low, high in [*pairs, ("pelvis", "torso")]:
            up = places[:, self.poses.index(self.roles[high])] - places[:, self.poses.index(self.roles[low])]
            angles.append(np.arccos((up[:, 2] / np.linalg.norm(up, axis=1).clip(1e-9)).clip(-1.0, 1.0)))
        return np.mean(angles, axis=0)


def _yaw(angle: float) -> np.ndarray:
    return R.from_yaw(torch.tensor(float(angle), dtype=torch.float64)).numpy()


def _arc(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """(4,) the smallest rotation from one direction (3,) to another."""
    a, b = start / start.norm(), end / end.norm()
    axis, cosine = R.cross(a, b), float((a @ b).clamp(-1.0, 1.0))
    if axis.norm() < 1e-9:  # along each other, or opposite
        axis = R.cross(a, torch.eye(3, dtype=a.dtype)[a.abs().argmin()])
    return R.from_axis_angle(axis / axis.norm(), torch.tensor(np.arccos(cosine), dtype=a.dtype))
