"""Writes a robot as URDF, for runtimes that compute its kinematics from the model's property `robot_urdf`. Needs core.

A URDF joint has one hinge. A body with several hinges becomes the last link of a chain, whose other links have almost no mass. Only
kinematics and dynamics are written, no shapes.
"""

import math
from collections.abc import Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from protege.core.robots.robot import IDENTITY_QUAT, Body, Quat, Robot, Vec3

CHAIN_LINK_INERTIA = (1e-6, 1e-9)  # kg and kg·m² of a link within a chain: simulators refuse zero
UNLIMITED_VELOCITY = 1000.0  # rad/s; URDF requires a limit, and the robot model has none
Array = np.ndarray


def urdf(robot: Robot) -> str:
    """The robot as URDF: a link of each body's name, a revolute joint of each joint's, with inertia, limits and effort."""
    root = Element("robot", name=robot.name)
    for body in robot.bodies:
        joints = [joint for joint in robot.joints if joint.body == body.name]
        links = [f"{joint.name}_link" for joint in joints[:-1]]
        for name in links:
            _inertial(
                SubElement(root, "link", name=name),
                CHAIN_LINK_INERTIA[0],
                np.zeros(3),
                CHAIN_LINK_INERTIA[1] * np.eye(3),
            )
        _inertial(SubElement(root, "link", name=body.name), *_inertia(body))
        if body.parent is None:
            continue
        chain = [body.parent, *links, body.name]
        for index, joint in enumerate(joints):
            rest = (body.offset, body.quat) if index == 0 else ((0.0, 0.0, 0.0), IDENTITY_QUAT)
            hinge = _joint(root, joint.name, "revolute", chain[index : index + 2], *rest)
            SubElement(hinge, "axis", xyz=_text(joint.axis))
            low, high = map(repr, map(float, joint.range))
            SubElement(
                hinge,
                "limit",
                lower=low,
                upper=high,
                effort=repr(float(joint.effort_limit)),
                velocity=repr(UNLIMITED_VELOCITY),
            )
            SubElement(hinge, "dynamics", damping=repr(joint.passive_damping), friction=repr(joint.frictionloss))
        if not joints:
            _joint(root, f"{body.name}_fixed", "fixed", chain, body.offset, body.quat)
    return ElementTree.tostring(root, encoding="unicode")


def _inertia(body: Body) -> tuple[float, Array, Array]:
    """Mass, kg; centre of mass (3,) m in the body's frame; inertia (3, 3) kg·m² about it, along the body's axes."""
    turn = _matrix(body.inertia.quat)
    return body.inertia.mass, np.array(body.inertia.center), turn @ np.diag(body.inertia.moments) @ turn.T


def _matrix(quat: Sequence[float]) -> Array:
    """Rotation of a unit quaternion, wxyz."""
    w, x, y, z = quat
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + 2.0 * w * skew + 2.0 * skew @ skew


def _roll_pitch_yaw(quat: Quat) -> tuple[float, float, float]:
    """URDF's angles, rad: about the fixed x, then y, then z axis."""
    turn = _matrix(quat)
    pitch = math.atan2(-turn[2, 0], math.hypot(turn[0, 0], turn[1, 0]))
    if math.hypot(turn[0, 0], turn[1, 0]) < 1e-9:  # x points up or down: roll and yaw turn about one axis
        return math.atan2(-turn[1, 2], turn[1, 1]), pitch, 0.0
    return math.atan2(turn[2, 1], turn[2, 2]), pitch, math.atan2(turn[1, 0], turn[0, 0])


def _inertial(link: Element, mass: float, center: Array, moments: Array) -> None:
    part = SubElement(link, "inertial")
    SubElement(part, "origin", xyz=_text(center), rpy="0 0 0")
    SubElement(part, "mass", value=repr(float(mass)))
    names = {"ixx": (0, 0), "ixy": (0, 1), "ixz": (0, 2), "iyy": (1, 1), "iyz": (1, 2), "izz": (2, 2)}
    SubElement(part, "inertia", {name: repr(float(moments[place])) for name, place in names.items()})


def _joint(root: Element, name: str, kind: str, ends: Sequence[str], offset: Vec3, quat: Quat) -> Element:
    joint = SubElement(root, "joint", name=name, type=kind)
    SubElement(joint, "origin", xyz=_text(offset), rpy=_text(_roll_pitch_yaw(quat)))
    SubElement(joint, "parent", link=ends[0])
    SubElement(joint, "child", link=ends[1])
    return joint


def _text(values: Sequence[float] | Array) -> str:
    return " ".join(repr(float(value)) for value in values)
