"""poselib's SkeletonMotion (Isaac Gym, ProtoMotions 1 and 2): a pickled mapping in a .npy file, quaternions xyzw, z up."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from protege.core.errors import UserError

from ..source import Skeleton, SkeletonMotion
from .arrays import finite, local_rotations, names_of, numbers, quaternions, rate, times
from .document import Document
from .options import Options
from .orientation import check_upright
from .smpl_family import FAMILY, is_smpl


def recognises(document: Document) -> bool:
    """A mapping with rotations and a tree."""
    return document.container == "pickle" and document.has("rotation", "root_translation", "skeleton_tree")


def read(document: Document, options: Options) -> list[SkeletonMotion]:
    """The motion of a file. Its rotations are local, or, if `is_local` is false, in the world frame."""
    data, file, order = document.data, document.file, options.quat or "xyzw"
    names, parents, offsets = _tree(data["skeleton_tree"], file)
    quat = quaternions(_array(data["rotation"]), file, "rotation", order, names)
    pos = finite(
        numbers(_array(data["root_translation"]), file, "root_translation", (len(quat), 3)), file, "root_translation"
    )
    check_upright(quat[:, 0], file, options, order)
    local = quat if data.get("is_local") else local_rotations(quat, parents)
    fps = rate(_array(data.get("fps")), file, options)
    skeleton = Skeleton(names, parents, offsets, FAMILY if is_smpl(names) else "")
    return [
        SkeletonMotion(document.name, times(len(pos), fps), pos, quat[:, 0], fps, "poselib", file,
                       skeleton=skeleton, rotations=local)
    ]  # fmt: skip


def _array(value: Any) -> Any:
    """An array that poselib wraps into a mapping with its type."""
    return value.get("arr") if isinstance(value, Mapping) else value


def _tree(tree: Any, file: str) -> tuple[tuple[str, ...], tuple[int, ...], np.ndarray]:
    """Names, parents and offsets (B, 3) m; the root's position is not part of the skeleton."""
    names = names_of(tree.get("node_names")) if isinstance(tree, Mapping) else ()
    if len(names) < 2:
        raise UserError(f"{file}: skeleton_tree has no node_names", "Take another copy of the file")
    parents = numbers(_array(tree.get("parent_indices")), file, "parent_indices", (len(names),)).astype(int)
    offsets = finite(
        numbers(_array(tree.get("local_translation")), file, "local_translation", (len(names), 3)), file, "offsets"
    )
    if parents[0] != -1 or any(not 0 <= parent < index for index, parent in enumerate(parents[1:], start=1)):
        raise UserError(f"{file}: skeleton_tree has a body before its parent", "Take another copy of the file")
    return names, tuple(parents.tolist()), np.concatenate([np.zeros((1, 3)), offsets[1:]])
