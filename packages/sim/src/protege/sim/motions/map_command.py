"""The work of `protege sim motions map`: a proposal of a map, for the user to check."""

from collections.abc import Sequence
from dataclasses import dataclass

from protege.core.errors import UserError
from protege.core.robots.robot import Robot

from .anatomy import REQUIRED
from .body_map import body_map
from .importer import motions_in
from .proposal import propose, text
from .readers.options import Options
from .source import SkeletonMotion
from .sources import find_sources

END_SUFFIX = ".end"
"""Suffix of the names of positions that end a chain in a .bvh."""


@dataclass(frozen=True)
class Proposed:
    """A map as text, and what is to be said about it."""

    text: str
    remarks: Sequence[str]


def propose_map(source: str, robot: Robot, options: Options) -> Proposed:
    """A map for the skeleton of the first motion in a file.

    Raises:
        UserError: the file contains no skeleton, or the robot has no map to skeletons.
    """
    wanted = {target.role for target in body_map(robot)}
    for found in find_sources([source], []):
        for motion in motions_in(found.read(), found.file, found.name, options):
            if not isinstance(motion, SkeletonMotion):
                raise UserError(f"{found.file} has a robot's joints and no skeleton", "It needs no map")
            proposal, skeleton = propose(motion.skeleton), motion.skeleton
            remarks = [
                f"could not place {role}, which has to be there" for role in proposal.missing if role in REQUIRED
            ]
            remarks += [
                f"could not place {role}: {robot.name} is left free there"
                for role in proposal.missing
                if role in wanted and role not in REQUIRED
            ]
            unused = [x for x in skeleton.names if x not in proposal.roles.values() and not x.endswith(END_SUFFIX)]
            remarks += [f"bodies without a role: {', '.join(unused)}"] if unused else []
            return Proposed(text(proposal, found.file), remarks)
    raise UserError(f"{source} holds no motion", "Give a motion file with a skeleton, such as a .bvh")
