"""SMPL's parameters as estimated from videos: AIST++ (.pkl), GVHMR (.pt) and WHAM (.pkl). Their worlds have y up.

Poses are axis-angle in SMPL's order and body frame, as in AMASS. Only motions in the world are read, not those in a camera's frame.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from protege.core.errors import shown

from ..source import SourceMotion
from .amass import smpl_motion
from .arrays import numbers, rate, scalar
from .document import Document
from .frames import oriented
from .options import Options
from .smpl_family import PELVIS_OFFSET

AIST_RATE, GVHMR_RATE = 60.0, 30.0
"""Frames per second of all files of AIST++, and of the videos that GVHMR reads. WHAM has those of its video."""
AIST, GVHMR, WHAM = (
    {"smpl_poses", "smpl_trans"},
    {"global_orient", "body_pose", "transl"},
    {"pose_world", "trans_world"},
)
"""Keys of a motion, by project."""
GVHMR_WORLD = "smpl_params_global"
"""Where GVHMR stores the motion in the world."""


def recognises(document: Document) -> bool:
    """A mapping with the keys of one of these projects, or of several persons."""
    return document.container in ("pickle", "torch", "npz") and any(True for _ in _persons(document.data))


def read(document: Document, options: Options) -> list[SourceMotion]:
    """The motions of all persons in a file."""
    upright = options if options.up else replace(options, up="y")
    motions: list[SourceMotion] = []
    for name, person in _persons(document.data):
        file = document.file if not name else f"{document.file}, person {shown(name, 20)}"
        poses, trans, fps = _parameters(person, file)
        title = f"{document.name}_{name}" if name else document.name
        speed = rate(fps, file, options)
        motion = smpl_motion(title, poses, trans + PELVIS_OFFSET, speed, "video", file, upright)
        motions.append(oriented(motion, upright))
    return motions


def _persons(data: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Names and parameters of the persons; the name is empty if there is only one."""
    if not isinstance(data, Mapping):
        return
    inner = data.get(GVHMR_WORLD, data)
    if _is_person(inner):
        yield "", inner
    elif data and all(_is_person(one) for one in data.values()):
        yield from ((str(name) if len(data) > 1 else "", one) for name, one in data.items())


def _is_person(data: Any) -> bool:
    return isinstance(data, Mapping) and any(keys <= data.keys() for keys in (AIST, GVHMR, WHAM))


def _parameters(person: Mapping[str, Any], file: str) -> tuple[np.ndarray, np.ndarray, float | None]:
    """Poses (T, 3 J) rad, translations (T, 3) m of the body's origin, y up, and frames per second if they are known."""
    if person.keys() >= AIST:
        trans = numbers(person["smpl_trans"], file, "smpl_trans", (None, 3))
        return person["smpl_poses"], trans / (scalar(person.get("smpl_scaling")) or 1.0), AIST_RATE
    if person.keys() >= WHAM:
        return person["pose_world"], numbers(person["trans_world"], file, "trans_world", (None, 3)), None
    trans = numbers(person["transl"], file, "transl", (None, 3))
    root, body = (
        numbers(person[key], file, key, (None, size)) for key, size in (("global_orient", 3), ("body_pose", None))
    )
    return np.concatenate([root, body], axis=1), trans, GVHMR_RATE
