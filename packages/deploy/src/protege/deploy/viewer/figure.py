"""The robot's shapes out of its MuJoCo model, one mesh a body."""

from typing import Any

import numpy as np
import trimesh
from mujoco import mjtGeom

from ..interface import Array


def figure(model: Any, body_names: list[str]) -> dict[str, tuple[Array, Array]]:
    """Vertices (V, 3) m and triangles (F, 3) of each body that has a shape, in the body's frame.

    Args:
        model: MuJoCo's.
        body_names: whose.
    """
    shapes = {}
    for name in body_names:
        body = model.body(name)
        first, count = int(body.geomadr[0]), int(body.geomnum[0])
        parts = [part for geom in range(first, first + count) if (part := _geom(model, geom)) is not None]
        if parts:
            starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
            faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
            shapes[name] = np.vstack([part.vertices for part in parts]), np.vstack(faces)
    return shapes


def _geom(model: Any, geom: int) -> trimesh.Trimesh | None:
    """One geometry, placed in its body; None for kinds that are not drawn."""
    mesh = _shape(model, geom)
    if mesh is not None:
        turn = trimesh.transformations.quaternion_matrix(model.geom_quat[geom])
        turn[:3, 3] = model.geom_pos[geom]
        mesh.apply_transform(turn)
    return mesh


def _shape(model: Any, geom: int) -> trimesh.Trimesh | None:
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == mjtGeom.mjGEOM_BOX:
        return trimesh.creation.box(extents=2.0 * size)
    if kind in (mjtGeom.mjGEOM_SPHERE, mjtGeom.mjGEOM_ELLIPSOID):
        ball = trimesh.creation.icosphere(subdivisions=2)
        ball.apply_scale(size if kind == mjtGeom.mjGEOM_ELLIPSOID else size[0])
        return ball
    if kind in (mjtGeom.mjGEOM_CAPSULE, mjtGeom.mjGEOM_CYLINDER):
        create = trimesh.creation.capsule if kind == mjtGeom.mjGEOM_CAPSULE else trimesh.creation.cylinder
        tube = create(radius=size[0], height=2.0 * size[1])
        tube.apply_translation(-tube.bounds.mean(axis=0))
        return tube
    if kind == mjtGeom.mjGEOM_MESH:
        data = model.mesh(int(model.geom_dataid[geom]))
        vertices = slice(int(data.vertadr[0]), int(data.vertadr[0] + data.vertnum[0]))
        faces = slice(int(data.faceadr[0]), int(data.faceadr[0] + data.facenum[0]))
        return trimesh.Trimesh(model.mesh_vert[vertices], model.mesh_face[faces])
    return None
