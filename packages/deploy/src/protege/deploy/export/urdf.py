"""A robot as URDF, for runtimes that compute its kinematics from the model's property `robot_urdf`. Needs core.

URDF has one hinge a joint: a body with several is the last link of a chain, whose other links weigh next to nothing. There are no
shapes, only what kinematics and dynamics take.
"""

from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from protege.core.robots.robot import Body, Geom, Robot

FEATHER = (1e-6, 1e-9)  # kg and kg·m² of a link within a chain: simulators refuse zero
FASTEST = 1000.0  # rad/s, which URDF asks for and a robot does not say: no limit
Array = np.ndarray


def urdf(robot: Robot) -> str:
    """The robot as URDF: a link of each body's name, a revolute joint of each joint's, with inertia, limits and effort."""
    root = Element("robot", name=robot.name)
    for body in robot.bodies:
        joints = [joint for joint in robot.joints if joint.body == body.name]
        links = [f"{joint.name}_link" for joint in joints[:-1]]
        for name in links:
            _inertial(SubElement(root, "link", name=name), FEATHER[0], np.zeros(3), FEATHER[1] * np.eye(3))
        _inertial(SubElement(root, "link", name=body.name), *inertia(body))
        if body.parent is None:
            continue
        chain = [body.parent, *links, body.name]
        for index, joint in enumerate(joints):
            hinge = _joint(
                root, joint.name, "revolute", chain[index : index + 2], body.offset if index == 0 else (0, 0, 0)
            )
            SubElement(hinge, "axis", xyz=_text(joint.axis))
            low, high = map(repr, map(float, joint.range))
            SubElement(
                hinge, "limit", lower=low, upper=high, effort=repr(float(joint.effort_limit)), velocity=repr(FASTEST)
            )
        if not joints:
            _joint(root, f"{body.name}_fixed", "fixed", chain, body.offset)
    return ElementTree.tostring(root, encoding="unicode")


def inertia(body: Body) -> tuple[float, Array, Array]:
    """Mass, kg; centre of mass (3,) m in the body's frame; inertia (3, 3) kg·m² about it, along the body's axes."""
    mass = sum(geom.mass for geom in body.geoms)
    center = sum((geom.mass * np.array(geom.pos) for geom in body.geoms), np.zeros(3)) / mass
    total = np.zeros((3, 3))
    for geom in body.geoms:
        turn, off = _matrix(geom.quat), np.array(geom.pos) - center
        total += turn @ np.diag(_moments(geom)) @ turn.T + geom.mass * (off @ off * np.eye(3) - np.outer(off, off))
    return mass, center, total


def _moments(geom: Geom) -> Array:
    """Moments of inertia about a shape's own axes, (3,) kg·m²."""
    if geom.kind == "box":
        x, y, z = (side**2 for side in geom.size)
        return geom.mass / 3.0 * np.array([y + z, x + z, x + y])
    radius, half = geom.size if geom.kind == "capsule" else (*geom.size, 0.0)
    ball = geom.mass * (4.0 / 3.0 * radius) / (4.0 / 3.0 * radius + 2.0 * half)  # both ends of a capsule, by volume
    tube = geom.mass - ball
    along = radius**2 * (tube / 2.0 + ball * 2.0 / 5.0)
    across = tube * (radius**2 / 4.0 + half**2 / 3.0) + ball * (radius**2 * 2.0 / 5.0 + half**2 + 0.75 * half * radius)
    return np.array([across, across, along])


def _matrix(quat: Sequence[float]) -> Array:
    """Rotation of a unit quaternion, wxyz."""
    w, x, y, z = quat
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + 2.0 * w * skew + 2.0 * skew @ skew


def _inertial(link: Element, mass: float, center: Array, moments: Array) -> None:
    part = SubElement(link, "inertial")
    SubElement(part, "origin", xyz=_text(center), rpy="0 0 0")
    SubElement(part, "mass", value=repr(float(mass)))
    names = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    SubElement(part, "inertia", {name: repr(float(moments[place])) for name, place in names.items()})


def _joint(root: Element, name: str, kind: str, ends: Sequence[str], offset: Sequence[float]) -> Element:
    joint = SubElement(root, "joint", name=name, type=kind)
    SubElement(joint, "origin", xyz=_text(offset), rpy="0 0 0")
    SubElement(joint, "parent", link=ends[0])
    SubElement(joint, "child", link=ends[1])
    return joint


def _text(values: Sequence[float] | Array) -> str:
    return " ".join(repr(float(value)) for value in values)
