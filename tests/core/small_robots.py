"""Small robots, described by hand."""

from typing import Any

import torch
from hypothesis import strategies as st

from protege.core.robots.robot import Body, Camera, Geom, Groups, Inertia, Joint, Look, Robot, Site, Vec3

LIGHT = Inertia(1.0, moments=(0.01, 0.01, 0.01))
"""1 kg about a body's origin, as much about each axis."""


def robot_of(name: str, bodies: tuple[Body, ...], joints: tuple[Joint, ...], **changes: Any) -> Robot:
    """A robot at 30 Hz with zero default pose, whose first body has all roles."""
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


@st.composite
def trees(draw: st.DrawFn, *, depth_first: bool = False) -> Robot:
    """Robots of up to nine bodies with shapes, each turned at rest and with up to three hinges about any axes.

    Args:
        draw: by hypothesis.
        depth_first: bodies are listed as MuJoCo sorts them.
    """
    # MuJoCo does not read subnormal numbers.
    numbers = st.floats(-1.0, 1.0).map(lambda x: x if abs(x) > 1e-9 else 0.0)
    positive = st.floats(0.01, 2.0)

    def vector() -> Vec3:
        return draw(numbers), draw(numbers), draw(numbers)

    def unit(*first: float) -> Any:
        v = torch.tensor([*first, draw(numbers), draw(numbers), draw(numbers)], dtype=torch.float64)
        v[0] += 2.0
        return tuple((v / v.norm()).tolist())

    bodies, joints, line = list[Body](), list[Joint](), list[int]()
    for i in range(draw(st.integers(2, 9))):
        above = draw(st.sampled_from(line if depth_first else range(i))) if i else 0
        line = [*line[: line.index(above) + 1], i] if depth_first and i else [*line, i]
        a, b, c = draw(positive), draw(positive), draw(positive)
        inertia = Inertia(draw(positive), vector(), (a + b, b + c, c + a), unit(0.0))
        kind = draw(st.sampled_from(("box", "capsule", "sphere")))
        size = tuple(draw(positive) for _ in range({"box": 3, "capsule": 2, "sphere": 1}[kind]))
        contact = (draw(positive), draw(positive), draw(positive)), draw(st.sampled_from((1, 3, 4, 6)))
        geoms = (Geom(kind, size, vector(), unit(0.0), *contact),) if draw(st.booleans()) else ()
        rgba = (draw(st.sampled_from((0.0, 0.25, 0.9999))), 0.1, 0.72, 1.0)
        looks = (Look("cylinder", (draw(positive), 0.3), vector(), unit(0.0), rgba),) if draw(st.booleans()) else ()
        if i == 0:
            bodies.append(Body("b0", None, (0.0, 0.0, 0.0), inertia, geoms, looks=looks))
            continue
        bodies.append(Body(f"b{i}", f"b{above}", vector(), inertia, geoms, unit(0.0), looks))
        for _ in range(draw(st.integers(0, 3))):
            facts = {x: draw(positive) for x in ("stiffness", "damping", "effort_limit", "armature")}
            facts |= {x: draw(st.sampled_from((0.0, 0.125))) for x in ("frictionloss", "passive_damping")}
            joints.append(Joint(f"j{len(joints)}", f"b{i}", unit(), (-draw(positive), draw(positive)), **facts))
    return robot_of("tree", tuple(bodies), tuple(joints), self_collision=draw(st.booleans()))
