"""The robot's surfaces for the page, from the visible geoms of its MuJoCo model."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

import mujoco
import numpy as np
from mujoco import mjtGeom

from ..geometry import Array
from . import shapes

MAX_VISIBLE_GROUP = 2
"""The last of the geom groups that MuJoCo shows by default."""
MENAGERIE_TEXT = "menagerie"
"""The text element in robot.xml that holds the robot's name in MuJoCo Menagerie."""
MAX_DOWNLOAD_TIME = 0.5
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
        primitives = [(mesh, _color(model, geom)) for geom in shown if (mesh := _placed(model, geom)) is not None]
        meshes = [((x.vertices, x.faces), tuple(x.rgba)) for x in offered.get(name, ())]
        if found := meshes or primitives:
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


def _part(meshes: Sequence[shapes.Mesh], rgba: tuple[float, ...], *, flat: bool) -> Surface:
    """Meshes of one colour, as one."""
    red, green, blue = (round(255 * x) for x in rgba[:3])
    return Surface(*shapes.joined(meshes), (red, green, blue), None if rgba[3] == 1.0 else rgba[3], flat)


def _color(model: mujoco.MjModel, geom: int) -> tuple[float, ...]:
    material = int(model.geom_matid[geom])
    return tuple((model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]).tolist())


def _placed(model: mujoco.MjModel, geom: int) -> shapes.Mesh | None:
    """One geometry, placed in its body; None for kinds that are not drawn."""
    mesh = _shape(model, geom)
    if mesh is None:
        return None
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    return mesh[0] @ turn.reshape(3, 3).T + model.geom_pos[geom], mesh[1]


def _shape(model: mujoco.MjModel, geom: int) -> shapes.Mesh | None:
    size = model.geom_size[geom]
    match int(model.geom_type[geom]):
        case mjtGeom.mjGEOM_BOX:
            return shapes.box(size)
        case mjtGeom.mjGEOM_SPHERE:
            return shapes.ball(np.full(3, size[0]))
        case mjtGeom.mjGEOM_ELLIPSOID:
            return shapes.ball(size)
        case mjtGeom.mjGEOM_CAPSULE:
            return shapes.capsule(size[0], size[1])
        case mjtGeom.mjGEOM_CYLINDER:
            return shapes.cylinder(size[0], size[1])
        case mjtGeom.mjGEOM_MESH:
            data = model.mesh(int(model.geom_dataid[geom]))
            vertices = slice(int(data.vertadr[0]), int(data.vertadr[0] + data.vertnum[0]))
            faces = slice(int(data.faceadr[0]), int(data.faceadr[0] + data.facenum[0]))
            return model.mesh_vert[vertices].astype(float), model.mesh_face[faces].copy()
    return None
