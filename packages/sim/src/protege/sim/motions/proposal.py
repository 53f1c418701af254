"""A map for a skeleton without a shipped map: which body has which role, by names and by the skeleton's structure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .anatomy import ROLES, in_skeleton, plain_names, shipped_maps
from .source import Skeleton

PART_WORDS = {
    "pelvis": ("pelvis", "hips", "hip", "root", "cog"),
    "torso": ("chest", "upperchest", "thorax", "torso", "spine", "abdomen"),
    "neck": ("neck",),
    "head": ("head",),
    "hip": ("upleg", "upperleg", "thigh", "femur", "hip"),
    "knee": ("leg", "lowerleg", "lowleg", "shin", "calf", "tibia", "knee"),
    "ankle": ("foot", "ankle"),
    "toe": ("toebase", "toe", "toes", "ball"),
    "shoulder": ("uparm", "upperarm", "humerus", "shldr", "arm", "shoulder"),
    "elbow": ("forearm", "lowerarm", "lowarm", "radius", "elbow"),
    "wrist": ("hand", "wrist"),
}
"""Names of parts, the most likely words first."""
SIDES = {"left": ("left", "l"), "right": ("right", "r")}
CHAINS = (("hip", "knee", "ankle"), ("shoulder", "elbow", "wrist"))
NAME_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclass(frozen=True)
class Proposal:
    """Roles of a skeleton's bodies, those of `by_place` told by where a body is and not by its name; and roles without a body."""

    roles: Mapping[str, str]
    by_place: tuple[str, ...]
    missing: tuple[str, ...]


def propose(skeleton: Skeleton) -> Proposal:
    """The shipped map that assigns most roles, completed by names and positions; names alone if they assign more."""
    names, known = skeleton.names, dict[str, str]()
    for data in shipped_maps().values():
        known = max(known, in_skeleton(data, names), key=len)
    named = _by_name(names)
    roles = named | known if len(known) >= len(named) else known | named
    roles = _in_order(skeleton, roles)
    by_place = _between(skeleton, roles)
    roles |= by_place
    ordered = {role: roles[role] for role in ROLES if role in roles}
    return Proposal(ordered, tuple(by_place), tuple(role for role in ROLES if role not in roles))


def text(proposal: Proposal, file: str) -> str:
    """The map as a file for `--map`."""
    lines = [f"# Which body of the skeleton in {file} is which part."]
    lines += [
        f"{role}: {body}{'  # by its place' * (role in proposal.by_place)}" for role, body in proposal.roles.items()
    ]
    return "\n".join([*lines, *(f"# {role}: ?" for role in proposal.missing)]) + "\n"


def _by_name(names: Sequence[str]) -> dict[str, str]:
    """Roles of bodies by their names; of several, the one with the most likely word, then the first."""
    found: dict[str, tuple[int, str]] = {}
    for name, plain in zip(names, plain_names(names), strict=True):
        words = [word.lower() for word in NAME_WORDS.findall(plain)]
        side = next((side for side, signs in SIDES.items() if set(signs) & set(words)), "")
        signs = {sign for signs in SIDES.values() for sign in signs}
        rest = "".join(word for word in words if word not in signs and not word.isdigit())
        for part, called in PART_WORDS.items():
            role = f"{side}_{part}" if side else part
            if role in ROLES and rest in called:
                found[role] = min(
                    found.get(role, (len(called), "")), (called.index(rest), name), key=lambda one: one[0]
                )
    return {role: name for role, (_, name) in found.items()}


def _in_order(skeleton: Skeleton, roles: Mapping[str, str]) -> dict[str, str]:
    """The roles without those of limbs whose bodies are not in order from the trunk outwards."""
    ordered = dict(roles)
    for side in SIDES:
        for chain in CHAINS:
            at = [f"{side}_{part}" for part in chain if f"{side}_{part}" in ordered]
            for inner, outer in pairwise(at):
                if ordered[inner] not in _up(skeleton, ordered[outer])[1:]:
                    ordered.pop(inner)
    return ordered


def _between(skeleton: Skeleton, roles: Mapping[str, str]) -> dict[str, str]:
    """Roles that follow from positions: knees and elbows between hip and ankle, the trunk where both sides meet."""
    found = dict[str, str]()
    for side in SIDES:
        for first, middle, last in CHAINS:
            ends = [roles.get(f"{side}_{part}") for part in (first, last)]
            if f"{side}_{middle}" in roles or None in ends:
                continue
            way = _up(skeleton, str(ends[1]))
            inside = way[1 : way.index(str(ends[0]))] if ends[0] in way else []
            if inside:
                found[f"{side}_{middle}"] = min(inside, key=lambda name: _uneven(skeleton, name, *map(str, ends)))
    for trunk, part in (("pelvis", "hip"), ("torso", "shoulder")):
        sides = [roles.get(f"{side}_{part}") for side in SIDES]
        if None in sides:
            continue
        left, right = (_up(skeleton, str(name))[1:] for name in sides)
        meet = next((name for name in left if name in right), None)
        if meet and (trunk not in roles or (trunk == "torso" and roles[trunk] != meet)):
            found[trunk] = meet
    return found


def _up(skeleton: Skeleton, name: str) -> list[str]:
    """A body and its ancestors, up to the root."""
    index, way = skeleton.names.index(name), list[str]()
    while index >= 0:
        way.append(skeleton.names[index])
        index = skeleton.parents[index]
    return way


def _uneven(skeleton: Skeleton, name: str, first: str, last: str) -> float:
    """Difference of the lengths from a body to the two ends of its limb, m."""
    way = _up(skeleton, last)
    lengths = [np.linalg.norm(skeleton.offsets[skeleton.names.index(one)]) for one in way[: way.index(first)]]
    outer = sum(lengths[: way.index(name)])
    return float(abs(sum(lengths) - 2.0 * outer))
