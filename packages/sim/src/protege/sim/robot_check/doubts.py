"""What is missing or doubtful in a robot's description, found without a simulation."""

from collections.abc import Iterator
from dataclasses import replace
from math import isinf, tau

from protege.core.robots.robot import Robot

from .default_pose import contacts, posed
from .finding import Finding
from .loads import weak_joints

FOOT_HEIGHT_TOLERANCE = 0.01
"""m: largest height error of a foot, and largest distance of another body below the feet."""
OVERLAP_TOLERANCE = 1e-3
"""m: largest overlap of two bodies in the default pose."""
MIN_MASS, MAX_MASS, MIN_ROOT_HEIGHT, MAX_ROOT_HEIGHT = 0.5, 500.0, 0.1, 3.0
"""Limits of the robot's mass, kg, and of its root height, m, beyond which the units are probably wrong."""


def doubts(robot: Robot) -> list[Finding]:
    """All findings, those that prevent standing first. Servos that make the physics explode are errors, see `stability`."""
    return [
        *_feet(robot),
        *weak_joints(robot),
        *_overlaps(robot),
        *_sides(robot),
        *_joints(robot),
        *_sizes(robot),
    ]


def colliding_pairs(robot: Robot) -> int:
    """Number of pairs of the robot's bodies that may collide."""
    if not robot.self_collision:
        return 0
    solid = [body.name for body in robot.bodies if body.geoms]
    apart = {frozenset((body.name, body.parent)) for body in robot.bodies} | set(map(frozenset, robot.excluded_pairs))
    return sum(frozenset((a, b)) not in apart for i, a in enumerate(solid) for b in solid[:i])


def _feet(robot: Robot) -> Iterator[Finding]:
    """Feet that have no shapes or do not touch the ground in the default pose, and bodies that are lower than the feet."""
    heights = dict(zip(robot.body_names, contacts(robot)[:, 2].tolist(), strict=True))
    soles = {}
    for side, names in (("left", robot.groups.left_foot), ("right", robot.groups.right_foot)):
        sole = soles[side] = min(heights[name] for name in names)
        if isinf(sole):
            yield Finding(f"groups.feet.{side}", "has no shape that touches the ground", "Give it capsules or boxes")
        elif abs(sole) > FOOT_HEIGHT_TOLERANCE:
            where = f"{sole:.3f} m above" if sole > 0.0 else f"{-sole:.3f} m in"
            yield Finding(
                f"groups.feet.{side}",
                f"is {where} the ground in the default pose",
                f"Take pose.root_height: {robot.root_height - sole:.3f}, or leave it out; or change pose.joints",
            )
    others = {name: z for name, z in heights.items() if name not in robot.feet}
    lowest = min(others, key=lambda name: others[name], default="")
    if lowest and others[lowest] < min(soles.values()) - FOOT_HEIGHT_TOLERANCE:
        yield Finding(
            f"body {lowest}",
            "is lower than the feet in the default pose",
            "Name it in groups.feet, or straighten the legs (pose.joints)",
        )


def _overlaps(robot: Robot) -> Iterator[Finding]:
    """Pairs of colliding bodies that overlap in the default pose."""
    if not robot.self_collision:
        return
    model, data, at = posed(replace(robot, root_height=robot.root_height + 10.0))
    deepest: dict[tuple[str, str], float] = {}
    for contact in data.contact:
        first, second = (robot.body_names[model.geom_bodyid[geom] - at.root] for geom in contact.geom)
        deepest[first, second] = min(contact.dist, deepest.get((first, second), 0.0))
    for (first, second), depth in deepest.items():
        if depth < -OVERLAP_TOLERANCE:
            yield Finding(
                f"bodies {first} and {second}",
                f"are {-depth:.3f} m in each other in the default pose",
                f'Write <exclude body1="{first}" body2="{second}"/> into <contact>, or change pose.joints',
            )


def _sides(robot: Robot) -> Iterator[Finding]:
    """Left and right sides that are swapped, and missing hands."""
    left_of = dict(zip(robot.body_names, contacts(robot)[:, 1].tolist(), strict=True))
    groups = robot.groups
    for key, left, right in (
        ("feet", groups.left_foot, groups.right_foot),
        ("hands", groups.left_hand, groups.right_hand),
    ):
        if left and right and left_of[left[0]] <= left_of[right[0]]:
            yield Finding(
                f"groups.{key}", "has its left ones on the right", "Swap them; x is forward, y is left, z is up"
            )
    if not robot.hands:
        yield Finding("groups.hands", "is empty", "Name the bodies at the ends of the arms, if the robot has arms")


def _joints(robot: Robot) -> Iterator[Finding]:
    for joint in robot.joints:
        low, high = joint.range
        if high - low >= tau:
            yield Finding(
                f"joint {joint.name}",
                f"turns by {high - low:.3g} rad, a full turn or more",
                "Give it the range of the real one; are its units those of the file's compiler?",
            )
        if joint.damping + joint.passive_damping == 0.0:
            yield Finding(f"joint {joint.name}", "has no damping", "Give its servo one: kv, or servos.damping_ratio")


def _sizes(robot: Robot) -> Iterator[Finding]:
    if not MIN_MASS <= robot.mass <= MAX_MASS:
        yield Finding("the model", f"has a mass of {robot.mass:.3g} kg in all", "Give masses in kg")
    if not MIN_ROOT_HEIGHT <= robot.root_height <= MAX_ROOT_HEIGHT:
        yield Finding("pose.root_height", f"is {robot.root_height:.3g} m", "Give lengths in m")
