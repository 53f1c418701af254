"""The robot's surfaces for the page, from the visible geoms of its MuJoCo model."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import mujoco
import numpy as np
import trimesh
from mujoco import mjtGeom

from ..geometry import Array

MAX_VISIBLE_GROUP = 2
"""The last of the geom groups that MuJoCo shows by default."""
MENAGERIE_TEXT = "menagerie"
"""The text element in robot.xml that holds the robot's name in MuJoCo Menagerie."""
MAX_DOWNLOAD_TIME = 1.0
"""s, how long the viewer waits for meshes before it draws primitives."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A surface of one colour, fixed to a body.

    Attributes:
        vertices: (V, 3) in the body's frame, m.
        faces: (F, 3) vertices of each triangle.
        color: red, green, blue, 0 to 255.
        opacity: 0 to 1; None for 1.
        flat: shade each triangle by itself, though neighbours share vertices.
    """

    vertices: Array
    faces: Array
    color: tuple[int, int, int]
    opacity: float | None = None
    flat: bool = False


def figure(model: mujoco.MjModel, body_names: Sequence[str]) -> dict[str, list[Surface]]:
    """The surfaces of each body with visible geoms: meshes if a package offers them, otherwise its geoms.

    Args:
        model: of the robot.
        body_names: the bodies, root first.
    """
    offered, parts = _offered(model, body_names), dict[str, list[Surface]]()
    for name in body_names:
        body = model.body(name)
        first, count = int(body.geomadr[0]), int(body.geomnum[0])
        shown = [geom for geom in range(first, first + count) if model.geom_group[geom] <= MAX_VISIBLE_GROUP]
        shapes = [(mesh, _color(model, geom)) for geom in shown if (mesh := _placed(model, geom)) is not None]
        meshes = [(trimesh.Trimesh(x.vertices, x.faces, process=False), tuple(x.rgba)) for x in offered.get(name, ())]
        if found := meshes or shapes:
            colors = dict.fromkeys(rgba for _, rgba in found)
            flat = bool(meshes)
            parts[name] = [_part([mesh for mesh, own in found if own == rgba], rgba, flat=flat) for rgba in colors]
    return parts


def _offered(model: mujoco.MjModel, body_names: Sequence[str]) -> dict[str, Any]:
    """Meshes by body, from packages with entry points of the group `protege.looks`."""
    text = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXT, MENAGERIE_TEXT)
    if text < 0:
        return {}
    start, size = int(model.text_adr[text]), int(model.text_size[text])
    name = bytes(model.text_data)[start : start + size].split(b"\0")[0].decode()
    offers = entry_points(group="protege.looks", name=MENAGERIE_TEXT)
    found = [entry.load()(name, model, body_names, wait=MAX_DOWNLOAD_TIME) for entry in offers]
    return found[0] if found else {}


def _part(meshes: Sequence[trimesh.Trimesh], rgba: tuple[float, ...], *, flat: bool) -> Surface:
    """Meshes of one colour, as one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    red, green, blue = (round(255 * x) for x in rgba[:3])
    vertices = np.vstack([mesh.vertices for mesh in meshes])
    return Surface(vertices, np.vstack(faces), (red, green, blue), None if rgba[3] == 1.0 else rgba[3], flat)


def _color(model: mujoco.MjModel, geom: int) -> tuple[float, ...]:
    material = int(model.geom_matid[geom])
    return tuple((model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]).tolist())


def _placed(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    """One geometry, placed in its body; None for kinds that are not drawn."""
    mesh = _shape(model, geom)
    if mesh is not None:
        turn = trimesh.transformations.quaternion_matrix(model.geom_quat[geom])
        turn[:3, 3] = model.geom_pos[geom]
        mesh.apply_transform(turn)
    return mesh


def _shape(model: mujoco.MjModel, geom: int) -> trimesh.Trimesh | None:
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == mjtGeom.mjGEOM_BOX:
        box = trimesh.creation.box(extents=2.0 * size)
        box.unmerge_vertices()  # shading is smooth where triangles share them
        return box
    if kind in (mjtGeom.mjGEOM_SPHERE, mjtGeom.mjGEOM_ELLIPSOID):
        ball = trimesh.creation.icosphere(subdivisions=2)
        ball.apply_scale(size if kind == mjtGeom.mjGEOM_ELLIPSOID else size[0])
        return ball
    if kind == mjtGeom.mjGEOM_CAPSULE:
        tube = trimesh.creation.capsule(radius=size[0], height=2.0 * size[1])
        tube.apply_translation(-tube.bounds.mean(axis=0))
        return tube
    if kind == mjtGeom.mjGEOM_CYLINDER:
        can = trimesh.creation.cylinder(radius=size[0], height=2.0 * size[1])
        can.unmerge_vertices()
        return can
    if kind == mjtGeom.mjGEOM_MESH:
        data = model.mesh(int(model.geom_dataid[geom]))
        vertices = slice(int(data.vertadr[0]), int(data.vertadr[0] + data.vertnum[0]))
        faces = slice(int(data.faceadr[0]), int(data.faceadr[0] + data.facenum[0]))
        return trimesh.Trimesh(model.mesh_vert[vertices], model.mesh_face[faces])
    return None
