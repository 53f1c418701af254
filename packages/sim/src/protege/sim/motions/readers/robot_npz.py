"""Archives of a robot's motion (.npz), wxyz: BeyondMimic's and mjlab's, without names, and holosoma's, with them.

BeyondMimic's are written by Isaac Lab, with joints breadth first, and mjlab's by MuJoCo, depth first. The files do not contain the
order; it is determined from the bodies' positions.
"""

import numpy as np

from protege.core.errors import UserError

from ..source import JointMotion
from .arrays import finite, names_of, numbers, quaternions, rate, times
from .document import Document
from .options import Options
from .orientation import check_upright

ROOT_COLUMNS = 7
WORLD_BODY = "world"
"""The body that MuJoCo lists first, if a file contains all bodies of a model."""


def recognises(document: Document) -> bool:
    """Arrays of joints and bodies, or of MuJoCo's coordinates."""
    return document.container == "npz" and (
        document.has("joint_pos", "body_pos_w", "body_quat_w") or document.has("qpos")
    )


def read(document: Document, options: Options) -> list[JointMotion]:
    """The one motion of a file."""
    data, file, order = document.data, document.file, options.quat or "wxyz"
    names, body_names = names_of(data.get("joint_names")), names_of(data.get("body_names"))
    fps = rate(data.get("fps"), file, options)
    key = "joint_pos" if "joint_pos" in data else "qpos"
    table = finite(numbers(data[key], file, key, (None, None)), file, key)
    bodies = _bodies(document, len(table), body_names)
    if key == "qpos" or len(names) == table.shape[1] - ROOT_COLUMNS:
        pos, raw, joint_pos = table[:, :3], table[:, 3:ROOT_COLUMNS], table[:, ROOT_COLUMNS:]
    else:
        root = 1 if body_names[:1] == (WORLD_BODY,) else 0
        if bodies is None:
            raise UserError(f"{file} has no bodies, and so no root", "Add body_pos_w and body_quat_w")
        raw_bodies = numbers(data["body_quat_w"], file, "body_quat_w", (len(table), bodies.shape[1], 4))
        pos, raw, joint_pos = bodies[:, root], raw_bodies[:, root], table
    quat = quaternions(raw, file, "root rotation", order)
    check_upright(quat, file, options, order)
    if names and len(names) != joint_pos.shape[1]:
        raise UserError(
            f"{file} has {joint_pos.shape[1]} joints, but {len(names)} joint_names", "Name each column once"
        )
    return [
        JointMotion(document.name, times(len(table), fps), pos, quat, fps, "npz", file, joint_pos=joint_pos,
                    joint_names=names, body_pos_w=bodies, body_names=body_names)
    ]  # fmt: skip


def _bodies(document: Document, frames: int, names: tuple[str, ...]) -> np.ndarray | None:
    """(T, B, 3) m, if the file has bodies."""
    if "body_pos_w" not in document.data:
        return None
    shape = (frames, len(names) or None, 3)
    return finite(
        numbers(document.data["body_pos_w"], document.file, "body_pos_w", shape), document.file, "body_pos_w", names
    )
