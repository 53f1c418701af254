"""Archives of a robot's motion (.npz), wxyz: BeyondMimic's and mjlab's, without names, holosoma's and LocoMuJoCo's, with them.

BeyondMimic's are written by Isaac Lab, with joints breadth first, and mjlab's by MuJoCo, depth first. The files do not contain the
order; it is determined from the bodies' positions.
"""

from itertools import pairwise

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
    """The motions of a file: one, or those between LocoMuJoCo's split points."""
    data, file, order = document.data, document.file, options.quat or "wxyz"
    names, body_names = names_of(data.get("joint_names")), names_of(data.get("body_names"))
    fps = rate(data.get("fps", data.get("frequency")), file, options)
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
    if len(names) == joint_pos.shape[1] + 1:
        names = names[1:]  # LocoMuJoCo lists the free joint first
    if names and len(names) != joint_pos.shape[1]:
        raise UserError(
            f"{file} has {joint_pos.shape[1]} joints, but {len(names)} joint_names", "Name each column once"
        )
    parts = _parts(data.get("split_points"), len(table), file)
    return [
        JointMotion(f"{document.name}_{i}" if len(parts) > 1 else document.name, times(part.stop - part.start, fps), pos[part],
                    quat[part], fps, "npz", file, joint_pos=joint_pos[part], joint_names=names,
                    body_pos_w=None if bodies is None else bodies[part], body_names=body_names)
        for i, part in enumerate(parts)
    ]  # fmt: skip


def _parts(points: object, frames: int, file: str) -> list[slice]:
    """The frames of each motion, from LocoMuJoCo's split points: where each begins, and the number of frames."""
    if points is None:
        return [slice(0, frames)]
    ends = np.nan_to_num(numbers(points, file, "split_points", (None,)), nan=-1.0).tolist()
    if len(ends) < 2 or ends[0] != 0 or ends[-1] != frames or sorted(set(ends)) != ends:
        raise UserError(
            f"{file}: split_points do not divide its {frames} frames",
            "They begin with 0, rise, and end with that number",
        )
    return [slice(int(start), int(stop)) for start, stop in pairwise(ends)]


def _bodies(document: Document, frames: int, names: tuple[str, ...]) -> np.ndarray | None:
    """(T, B, 3) m, if the file has bodies."""
    if "body_pos_w" not in document.data:
        return None
    shape = (frames, len(names) or None, 3)
    return finite(
        numbers(document.data["body_pos_w"], document.file, "body_pos_w", shape), document.file, "body_pos_w", names
    )
