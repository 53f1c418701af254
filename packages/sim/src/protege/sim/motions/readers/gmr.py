"""Pickles of a robot's motion, xyzw: GMR, TWIST and GMT (arXiv 2505.02833), and the training data of ASAP and PBHC.

Some people save the same keys in a .npz.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from protege.core.errors import shown
from protege.core.robots import rotation as R

from ..source import JointMotion
from .arrays import finite, names_of, numbers, quaternions, rate, times
from .document import Document
from .options import Options
from .orientation import check_upright

LAYOUTS = (("root_pos", "root_rot", "dof_pos"), ("root_trans_offset", "root_rot", "dof"))
"""Keys of position, rotation and joints: of GMR and its users, and of ASAP's collections."""


def recognises(document: Document) -> bool:
    """A mapping with a root and joints, or a mapping of names to such mappings."""
    return document.container in ("pickle", "npz") and bool(_entries(document.data))


def read(document: Document, options: Options) -> list[JointMotion]:
    """The motions of a file, usually one."""
    motions = []
    for name, entry in _entries(document.data).items():
        file = f"{document.file}, motion {shown(str(name), 60)}" if name else document.file
        motions.append(_motion(str(name) or document.name, entry, file, options))
    return motions


def _motion(name: str, entry: Mapping[str, Any], file: str, options: Options) -> JointMotion:
    where, turn, joints = _layout(entry)
    order = options.quat or "xyzw"
    pos = finite(numbers(entry[where], file, where, (None, 3)), file, where)
    quat = quaternions(entry[turn], file, turn, order)
    check_upright(quat, file, options, order)
    flat = np.asarray(entry[joints])
    flat = flat[..., 0] if flat.ndim == 3 and flat.shape[2] == 1 else flat
    joint_pos = finite(numbers(flat, file, joints, (len(pos), None)), file, joints)
    numbers(quat, file, turn, (len(pos), 4))
    fps, names = rate(entry.get("fps"), file, options), names_of(entry.get("link_body_list"))
    bodies = None
    if names and entry.get("local_body_pos") is not None:
        bodies = _in_world(finite(numbers(entry["local_body_pos"], file, "local_body_pos", (len(pos), len(names), 3)), file,
                                  "local_body_pos", names), pos, quat)  # fmt: skip
    return JointMotion(name, times(len(pos), fps), pos, quat, fps, "gmr", file, joint_pos=joint_pos, body_pos_w=bodies,
                       body_names=names if bodies is not None else ())  # fmt: skip


def _in_world(local: np.ndarray, pos: np.ndarray, quat: np.ndarray) -> np.ndarray:
    """(T, B, 3) m, world positions of bodies from positions in the root's frame."""
    q = torch.from_numpy(quat)[:, None].expand(*local.shape[:2], 4)
    return R.rotate(q, torch.from_numpy(local)).numpy() + pos[:, None]


def _layout(entry: Any) -> tuple[str, str, str]:
    """The keys of an entry; empty if it is not a motion."""
    fits = (keys for keys in LAYOUTS if isinstance(entry, Mapping) and all(entry.get(key) is not None for key in keys))
    return next(fits, ("", "", ""))


def _entries(data: Any) -> dict[str, Mapping[str, Any]]:
    """The motions by name, or the single one of a file, without a name."""
    if _layout(data)[0]:
        return {"": data}
    if not isinstance(data, Mapping) or not data or not all(_layout(entry)[0] for entry in data.values()):
        return {}
    return dict(data)
