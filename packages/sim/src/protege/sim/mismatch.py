"""Robots that differ from their description, by `env.mismatch`: what a policy meets on a robot other than the described one."""

from dataclasses import replace
from itertools import combinations

from protege.core.robots.robot import Robot

from .env_config import MismatchParams


def mismatched(robot: Robot, params: MismatchParams) -> Robot:
    """The robot with the rates, effort limits and collisions of `params`; the same object if they change nothing."""
    control = 1.0 / params.control_rate if params.control_rate else robot.control_dt
    physics = 1.0 / params.physics_rate if params.physics_rate else robot.physics_dt
    if params.control_rate or params.physics_rate:
        robot = replace(robot, control_dt=control, physics_dt=control / max(round(control / physics), 1))
    if params.effort != 1.0:
        joints = tuple(replace(x, effort_limit=params.effort * x.effort_limit) for x in robot.joints)
        robot = replace(robot, joints=joints)
    if params.leg_collision and not robot.self_collision:
        robot = replace(robot, self_collision=True, excluded_pairs=_all_but_legs(robot))
    return robot


def delay_steps(robot: Robot, params: MismatchParams) -> int:
    """Delay of the actions in physics steps."""
    return round(params.delay / robot.physics_dt)


def legs(robot: Robot) -> tuple[frozenset[str], frozenset[str]]:
    """The bodies of the left leg and of the right one: the feet and their ancestors, down from the body where the legs meet."""
    left, right = (_chain(robot, feet) for feet in (robot.groups.left_foot, robot.groups.right_foot))
    return left - right, right - left


def _chain(robot: Robot, bodies: tuple[str, ...]) -> frozenset[str]:
    """Some bodies and all their ancestors."""
    found, parents = set(bodies), {body.name: body.parent for body in robot.bodies}
    for name in bodies:
        while (parent := parents[name]) is not None:
            found.add(parent)
            name = parent
    return frozenset(found)


def _all_but_legs(robot: Robot) -> tuple[tuple[str, str], ...]:
    """All pairs of bodies except those of a body of the left leg and one of the right leg."""
    left, right = legs(robot)
    return tuple(
        (a, b)
        for a, b in combinations(robot.body_names, 2)
        if not ((a in left and b in right) or (a in right and b in left))
    )
