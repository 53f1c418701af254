"""SMPL's own parameters: AMASS (.npz of SMPL-H and SMPL-X), and PHC's collections of them (.pkl of joblib).

Rotations are axis-angle in SMPL's order and body frame; `trans` is the position of the body's origin, not of its pelvis. Hands,
faces and the body's shape are left out: the pelvis of the mean body is used.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from protege.core.errors import UserError, shown

from ..source import SkeletonMotion
from .arrays import finite, from_rotation_vectors, numbers, rate, text, times
from .document import Document
from .options import Options
from .orientation import check_upright
from .smpl_family import OWN_ORDER, PELVIS_OFFSET, from_own_axes, skeleton

RATE_KEYS = ("mocap_framerate", "mocap_frame_rate", "fps", "frame_rate")
BODY_JOINTS = 22
"""The joints that SMPL, SMPL-H and SMPL-X share: all except the hands."""


def recognises(document: Document) -> bool:
    """Arrays of poses and translations; or, among AMASS's other files, a shape without motion."""
    if document.container not in ("npz", "pickle"):
        return False
    return _is_amass(document) or _is_shape(document)


def read(document: Document, options: Options) -> list[SkeletonMotion]:
    """The motion of an AMASS file; empty for a file with only a shape."""
    if not _is_amass(document):
        return []
    data, file = document.data, document.file
    poses = data["poses"] if "poses" in data else _joined(data, file)
    trans = numbers(data["trans"], file, "trans", (None, 3))
    fps = rate(next((data[key] for key in RATE_KEYS if key in data), None), file, options, "mocap_framerate")
    remarks = ["the body's shape and hands are left out: the robot has its own"]
    gender = text(data.get("gender"))
    if gender:
        remarks = [f"{remarks[0]} (betas of a {shown(gender, 20)} body)"]
    return [smpl_motion(document.name, poses, trans + PELVIS_OFFSET, fps, "amass", file, options, tuple(remarks))]


def recognises_phc(document: Document) -> bool:
    """A mapping from names to motions."""
    return document.container == "pickle" and bool(_entries(document.data))


def read_phc(document: Document, options: Options) -> list[SkeletonMotion]:
    """All motions of a collection. `root_trans_offset` is the position of the pelvis."""
    motions = []
    for name, entry in _entries(document.data).items():
        file = f"{document.file}, motion {shown(str(name), 60)}"
        place = "root_trans_offset" if "root_trans_offset" in entry else "trans"
        pos = numbers(entry[place], file, place, (None, 3)) + (0.0 if place == "root_trans_offset" else PELVIS_OFFSET)
        fps = rate(entry.get("fps"), file, options)
        motions.append(smpl_motion(str(name) or document.name, entry["pose_aa"], pos, fps, "phc", file, options))
    return motions


def smpl_motion(
    name: str, poses: Any, pelvis: np.ndarray, fps: float, format_: str, file: str, options: Options,
    remarks: tuple[str, ...] = (),
) -> SkeletonMotion:  # fmt: skip
    """A motion from axis-angle poses (T, 3 J), or (T, J, 3), and the pelvis' position (T, 3) m."""
    flat = np.asarray(poses)
    flat = flat.reshape(len(flat), -1) if flat.ndim == 3 else flat
    vectors = numbers(flat, file, "poses", (len(pelvis), None))
    joints = vectors.shape[1] // 3
    if vectors.shape[1] % 3 or joints < BODY_JOINTS:
        raise UserError(f"{file}: poses has {vectors.shape[1]} numbers a frame", "SMPL has 72, SMPL-H 156, SMPL-X 165")
    used = min(joints, len(OWN_ORDER)) if joints == len(OWN_ORDER) else BODY_JOINTS
    turns = finite(vectors.reshape(len(vectors), joints, 3)[:, :used], file, "poses", OWN_ORDER)
    finite(pelvis, file, "trans")
    rotations = from_own_axes(from_rotation_vectors(turns))
    check_upright(rotations[:, 0], file, options)
    return SkeletonMotion(name, times(len(pelvis), fps), pelvis, rotations[:, 0], fps, format_, file, remarks=remarks,
                          skeleton=skeleton(), rotations=rotations)  # fmt: skip


def _joined(data: Mapping[str, Any], file: str) -> np.ndarray:
    """Poses of SMPL-X that are stored in parts."""
    root = numbers(data["root_orient"], file, "root_orient", (None, 3))
    return np.concatenate([root, numbers(data["pose_body"], file, "pose_body", (len(root), 63))], axis=1)


def _is_amass(document: Document) -> bool:
    return document.has("trans", "poses") or document.has("trans", "root_orient", "pose_body")


def _is_shape(document: Document) -> bool:
    return document.container == "npz" and document.has("betas", "gender") and not document.has("trans")


def _entries(data: Any) -> dict[str, Mapping[str, Any]]:
    """The motions of a collection by name, or the single one of a file."""
    if not isinstance(data, Mapping):
        return {}
    if "pose_aa" in data:
        data = {"": data}
    good = {
        name: one for name, one in data.items()
        if isinstance(one, Mapping) and "pose_aa" in one and ("root_trans_offset" in one or "trans" in one)
        and not ("dof" in one and "root_rot" in one)
    }  # fmt: skip
    return good if len(good) == len(data) else {}
