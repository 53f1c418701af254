"""A robot's meshes from MuJoCo Menagerie, for pictures, if the package `mujoco-menagerie` is installed.

The package downloads a model when it is first used; with `MENAGERIE_ROOT` it reads from a folder of models instead. The viewer
imports this module, so it must not import torch.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from threading import Thread

import numpy as np

from .engine import mujoco

PACKAGE = "mujoco_menagerie"
LAST_SHOWN_GROUP = 2
"""The last geom group that MuJoCo shows by default."""
MAX_POSE_DIFFERENCE = 0.01
"""Largest difference of a body's position (m) and rotation matrix from the Menagerie's model at which its mesh is used."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface that is fixed to a body.

    Attributes:
        vertices: (V, 3) in the body's frame, m.
        faces: (F, 3) vertex indices of each triangle.
        rgba: colour and opacity, 0 to 1.
    """

    vertices: np.ndarray
    faces: np.ndarray
    rgba: tuple[float, float, float, float]


def meshes(
    name: str, model: mujoco.MjModel, body_names: Sequence[str], *, wait: float | None = None
) -> dict[str, tuple[Mesh, ...]]:
    """The meshes of a robot's bodies, by the body's name; empty, with a warning, if they are not available.

    Bodies whose pose differs in the Menagerie's model, at joint angles of zero, are left out.

    Args:
        name: the robot's name in the Menagerie, followed by `/` and the model's name if there are several; empty for none.
        model: our model of the robot.
        body_names: its bodies, the root first.
        wait: how long to wait for a download, s, which then goes on in the background; None until it has ended.
    """
    known = _found(name, wait) if name else None
    if known is None:
        return {}
    ours, theirs = _places(model, body_names), _places(known, body_names)
    fitting = [x for x, place in theirs.items() if np.abs(place - ours[x]).max() < MAX_POSE_DIFFERENCE]
    return {x: found for x in fitting if (found := _meshes(known, known.body(x).id))}


def _found(name: str, wait: float | None) -> mujoco.MjModel | None:
    """The Menagerie's model; None if it is not available within `wait` s."""
    if wait is None or not _must_be_downloaded(name):
        return load(name)
    download = _download(name)
    download.join(wait)
    if not download.is_alive():
        return load(name)
    log.warning("the meshes of %s are being downloaded; primitives are drawn until the next start", name)
    return None


@cache
def _download(name: str) -> Thread:
    thread = Thread(target=load, args=[name], daemon=True)
    thread.start()
    return thread


def _must_be_downloaded(name: str) -> bool:
    if find_spec(PACKAGE) is None:
        return False
    menagerie = import_module(PACKAGE)
    models = menagerie.Cache()
    try:
        described = menagerie.get(name.partition("/")[0])
    except menagerie.MenagerieError:
        return False
    return models.root is None and not models.is_cached(described)


@cache
def load(name: str) -> mujoco.MjModel | None:
    """The Menagerie's model with this name; None without the package, or if the model is not available."""
    if find_spec(PACKAGE) is None:
        return None
    menagerie = import_module(PACKAGE)
    try:
        folder, _, entry = name.partition("/")
        described = menagerie.get(folder)
        return described.model(entry or described.default_model)
    except (menagerie.MenagerieError, OSError, ValueError) as error:
        log.warning("no meshes of %s, primitives are drawn (%s)", name, error)
        return None


def _places(model: mujoco.MjModel, body_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Position and rotation matrix, (3 + 9,), of each body of a model in the root's frame, all joints at zero."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    rows = {name: mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in body_names}
    root = rows[body_names[0]]
    if root < 0:
        return {}
    turn = data.xmat[root].reshape(3, 3).T
    return {
        name: np.concatenate([turn @ (data.xpos[row] - data.xpos[root]), (turn @ data.xmat[row].reshape(3, 3)).ravel()])
        for name, row in rows.items()
        if row >= 0
    }


def _meshes(model: mujoco.MjModel, body: int) -> tuple[Mesh, ...]:
    is_mesh = (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (model.geom_group <= LAST_SHOWN_GROUP)
    return tuple(_mesh(model, int(geom)) for geom in np.flatnonzero(is_mesh & (model.geom_bodyid == body)))


def _mesh(model: mujoco.MjModel, geom: int) -> Mesh:
    """A mesh in its body's frame. MuJoCo stores it in its principal axes, and adjusts the geom's pose accordingly."""
    data, material = model.mesh(int(model.geom_dataid[geom])), int(model.geom_matid[geom])
    first, face = int(data.vertadr[0]), int(data.faceadr[0])
    turn = np.zeros(9)
    mujoco.mju_quat2Mat(turn, model.geom_quat[geom])
    vertices = model.mesh_vert[first : first + int(data.vertnum[0])].astype(float) @ turn.reshape(3, 3).T
    rgba = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
    red, green, blue, alpha = rgba.tolist()
    return Mesh(
        vertices=vertices + model.geom_pos[geom],
        faces=model.mesh_face[face : face + int(data.facenum[0])].copy(),
        rgba=(red, green, blue, alpha),
    )
