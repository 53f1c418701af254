"""Robots of a few bodies, put together by hand."""

from typing import Any

from protege.core.robots.robot import Body, Camera, Groups, Inertia, Joint, Robot, Site

LIGHT = Inertia(1.0, moments=(0.01, 0.01, 0.01))
"""1 kg about a body's origin, as much about each axis."""


def robot_of(name: str, bodies: tuple[Body, ...], joints: tuple[Joint, ...], **changes: Any) -> Robot:
    """A robot at 30 Hz, whose default pose is all zero and whose first body is everything that it need not have."""
    first = bodies[0].name
    facts: dict[str, Any] = {
        "default_joint_pos": (0.0,) * len(joints),
        "groups": Groups((first,), (first,), (), (), torso=first, head=first, imu=Site(first)),
        "root_height": 1.0,
        "control_dt": 1.0 / 30.0,
        "physics_dt": 1.0 / 120.0,
        "camera": Camera(3.0, 1.0),
    }
    return Robot(name, bodies, joints, **{**facts, **changes})
