"""ProtoMotions 3: one motion (.motion) or a library of them (.pt), files of torch.save; quaternions xyzw, z up.

A robot's joints are in its model's order, like ours. SMPL's are rotation vectors, and its bodies' rotations are included.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from protege.core.errors import UserError, shown

from ..source import JointMotion, SkeletonMotion
from .arrays import finite, local_rotations, names_of, numbers, quaternions, rate, scalar, times
from .document import Document
from .options import Options
from .orientation import check_upright
from .smpl_family import NAMES, skeleton

FIELDS = {"gts": "rigid_body_pos", "grs": "rigid_body_rot", "dps": "dof_pos", "contacts": "rigid_body_contacts"}
"""Name in a library of each field of a motion."""
ONE, LIBRARY = (
    ("dof_pos", "rigid_body_pos", "rigid_body_rot"),
    ("gts", "grs", "dps", "length_starts", "motion_num_frames"),
)


def recognises(document: Document) -> bool:
    """Tensors of bodies and joints."""
    return document.container == "torch" and (document.has(*ONE) or document.has(*LIBRARY))


def read(document: Document, options: Options) -> list[SkeletonMotion | JointMotion]:
    """The motion of a file, or all of a library."""
    if document.has(*ONE):
        return [_motion(document.name, document.data, document.file, options)]
    return [
        _motion(name, part, f"{document.file}, motion {shown(name, 60)}", options) for name, part in _parts(document)
    ]


def _parts(document: Document) -> list[tuple[str, dict[str, Any]]]:
    """Name and fields of each motion of a library, whose frames are concatenated."""
    data, file = document.data, document.file
    starts, counts = (np.asarray(data[key]).reshape(-1) for key in ("length_starts", "motion_num_frames"))
    files, seconds = names_of(list(data.get("motion_files", ()))), data.get("motion_dt")
    if not len(starts) or len(starts) != len(counts) or (seconds is not None and np.size(seconds) != len(starts)):
        raise UserError(f"{file}: its numbers of motions do not agree", "Take another copy of the file")
    total = len(data["gts"])
    parts = []
    for index, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
        if not 0 <= start <= start + count <= total:
            raise UserError(f"{file}: motion {index} goes on past the last frame", "Take another copy of the file")
        part = {FIELDS[key]: data[key][start : start + count] for key in FIELDS if data.get(key) is not None}
        step = None if seconds is None else scalar(np.asarray(seconds).reshape(-1)[index])
        part["fps"] = 1.0 / step if step else None
        name = PurePosixPath(files[index]).stem if len(files) == len(starts) else f"{document.name}_{index:04d}"
        parts.append((name, part))
    return parts


def _motion(name: str, data: Mapping[str, Any], file: str, options: Options) -> SkeletonMotion | JointMotion:
    order = options.quat or "xyzw"
    joint_pos = finite(numbers(data["dof_pos"], file, "dof_pos", (None, None)), file, "dof_pos")
    bodies = finite(
        numbers(data["rigid_body_pos"], file, "rigid_body_pos", (len(joint_pos), None, 3)), file, "rigid_body_pos"
    )
    quat = quaternions(data["rigid_body_rot"], file, "rigid_body_rot", order, bodies=bodies.shape[1])
    check_upright(quat[:, 0], file, options, order)
    fps = rate(data.get("fps"), file, options)
    same = (name, times(len(joint_pos), fps), bodies[:, 0], quat[:, 0], fps, "protomotions", file)
    if (bodies.shape[1], joint_pos.shape[1]) == (len(NAMES), 3 * len(NAMES) - 3):
        body = skeleton(_offsets(bodies, quat))
        contacts = data.get("rigid_body_contacts")
        touching = None if contacts is None else np.asarray(contacts) > 0.5
        return SkeletonMotion(*same, skeleton=body, rotations=local_rotations(quat, body.parents), contacts=touching)
    return JointMotion(*same, joint_pos=joint_pos)


def _offsets(bodies: np.ndarray, quat: np.ndarray) -> np.ndarray:
    """(24, 3) m, offsets of bodies in their parents' frames, from the first frame."""
    from .orientation import turned

    parents, conjugate = skeleton().parents, quat[0] * np.array([1.0, -1.0, -1.0, -1.0])
    return np.stack([
        np.zeros(3) if parent < 0 else turned(conjugate[parent], bodies[0, index] - bodies[0, parent])
        for index, parent in enumerate(parents)
    ])  # fmt: skip
