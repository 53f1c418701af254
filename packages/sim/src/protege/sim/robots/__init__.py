"""The robots: to add one, write a file of constants and a line here."""

from difflib import get_close_matches

from protege.core.errors import UserError
from protege.core.robots.robot import Robot

from .smpl import SMPL

ROBOTS: dict[str, Robot] = {"smpl": SMPL}


def get_robot(name: str) -> Robot:
    """The robot of that name.

    Raises:
        UserError: naming the nearest known one.
    """
    if name not in ROBOTS:
        near = get_close_matches(name, ROBOTS, 1, 0.0)
        raise UserError(f"no robot {name!r}", f"Did you mean {near[0]!r}?" if near else "")
    return ROBOTS[name]
