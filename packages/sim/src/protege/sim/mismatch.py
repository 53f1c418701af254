"""Robots that differ from their description, by `env.mismatch`: what a policy meets on a robot other than the described one."""

from dataclasses import replace
from itertools import combinations

import torch

from protege.core.delay import whole_steps
from protege.core.robots.robot import Robot

from .env_config import MismatchParams


def mismatched(robot: Robot, params: MismatchParams) -> Robot:
    """The robot with the rates, effort limits and collisions of `params`; the same object if they change nothing."""
    control = 1.0 / params.control_rate if params.control_rate else robot.control_dt
    if params.control_rate or params.physics_rate:
        substeps = substeps_at(replace(robot, control_dt=control), params.physics_rate)
        robot = replace(robot, control_dt=control, physics_dt=control / substeps)
    if params.effort != 1.0:
        joints = tuple(replace(x, effort_limit=params.effort * x.effort_limit) for x in robot.joints)
        robot = replace(robot, joints=joints)
    return with_leg_collision(robot) if params.leg_collision else robot


def with_leg_collision(robot: Robot) -> Robot:
    """The robot with legs that collide with each other; the same object if its bodies collide already."""
    if robot.self_collision:
        return robot
    return replace(robot, self_collision=True, excluded_pairs=_all_but_legs(robot))


def substeps_at(robot: Robot, rate: float) -> int:
    """Physics steps per control step at a rate of the physics in Hz, rounded to a whole number; 0: the robot's own rate."""
    return max(round(robot.control_dt * (rate or 1.0 / robot.physics_dt)), 1)


def delay_steps(robot: Robot, params: MismatchParams) -> int:
    """Delay of the actions in physics steps."""
    return int(whole_steps(torch.tensor(params.delay, dtype=torch.float64), robot.physics_dt))


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
