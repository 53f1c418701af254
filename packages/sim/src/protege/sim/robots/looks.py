"""Visual shapes of a robot, drawn instead of its collision shapes: its own, or meshes."""

from collections.abc import Mapping, Sequence

from protege.core.robots.robot import Look, Robot

from ..engine import mujoco
from ..menagerie import Mesh
from .kinds import HIDDEN, LOOKS, VISUAL

MENAGERIE = "menagerie"
"""The text element of a robot's MJCF that contains its name in MuJoCo Menagerie."""


def add_looks(spec: mujoco.MjSpec, robot: Robot, meshes: Mapping[str, Sequence[Mesh]] | None = None) -> None:
    """Add visual shapes, and hide the collision shapes of the bodies that have visual ones. The physics does not change.

    Args:
        spec: result of `build_spec`, not yet compiled.
        robot: the robot of the spec.
        meshes: by body, drawn instead of the robot's own visual shapes.
    """
    for body in robot.bodies:
        surfaces = (meshes or {}).get(body.name, ())
        if not surfaces and not body.looks:
            continue
        node = spec.body(body.name)
        for geom in node.geoms:
            geom.group = HIDDEN
        for index, surface in enumerate(surfaces):
            name = f"{body.name}_mesh_{index}"
            mesh = spec.add_mesh(name=name, uservert=surface.vertices.ravel(), userface=surface.faces.ravel())
            mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # accepts an open surface
            node.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=name, rgba=surface.rgba, **_intangible(name))
        for index, look in enumerate(() if surfaces else body.looks):
            node.add_geom(**_placed(look), **_intangible(f"{body.name}_look_{index}"))
    if robot.menagerie:
        spec.add_text(name=MENAGERIE, data=robot.menagerie)


def _intangible(name: str) -> dict:
    return {"name": name, "group": VISUAL, "contype": 0, "conaffinity": 0, "density": 0.0}


def _placed(look: Look) -> dict:
    size = [*look.size, 0.0, 0.0][:3]
    return {"type": LOOKS[look.kind], "size": size, "pos": look.pos, "quat": look.quat, "rgba": look.rgba}
