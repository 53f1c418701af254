"""MimicKit's motions (.pkl): frames of a root's position and rotation vector, then the joints of one of its characters.

Hinges are angles and ball joints are rotation vectors, as in the character's model: SMPL's 23 bodies, the 12 of DeepMimic's
humanoid with its arms stretched out, or a robot's hinges.
"""

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R

from ..source import JointMotion, SkeletonMotion
from . import humanoid3d, smpl_family
from .arrays import finite, from_rotation_vectors, numbers, rate, scalar, times
from .document import Document
from .options import Options
from .orientation import check_upright

ROOT_COLUMNS = 6
LOOPS = {0.0: False, 1.0: True}
"""Whether a motion with this `loop_mode` wraps."""
# The humanoid in the order of its model: body, and the axis of its hinge (knees y, elbows z); None for a ball joint.
HUMANOID: tuple[tuple[str, int | None], ...] = (
    ("chest", None), ("neck", None), ("R_Shoulder", None), ("R_Elbow", 2), ("L_Shoulder", None), ("L_Elbow", 2),
    ("R_Hip", None), ("R_Knee", 1), ("R_Ankle", None), ("L_Hip", None), ("L_Knee", 1), ("L_Ankle", None),
)  # fmt: skip
HUMANOID_JOINTS = sum(3 if axis is None else 1 for _, axis in HUMANOID)
SMPL_JOINTS = 3 * (len(smpl_family.NAMES) - 1)


def recognises(document: Document) -> bool:
    """A mapping with a loop mode and frames."""
    return document.container == "pickle" and document.has("loop_mode", "fps", "frames")


def read(document: Document, options: Options) -> list[SkeletonMotion | JointMotion]:
    """The motion of a file."""
    data, file = document.data, document.file
    frames = numbers(data["frames"], file, "frames", (None, None))
    joints, loop = frames.shape[1] - ROOT_COLUMNS, scalar(data["loop_mode"])
    if joints < 1 or loop is None or loop not in LOOPS:
        what = f"frames of {frames.shape[1]} numbers" if joints < 1 else f"the loop_mode {str(data['loop_mode'])[:20]}"
        raise UserError(f"{file} has {what}", "Frames are 6 numbers and the joints; loop_mode is 0 (clamp) or 1 (wrap)")
    fps = rate(data["fps"], file, options)
    frames, remarks = _mended(frames, file)
    root = from_rotation_vectors(frames[:, 3:ROOT_COLUMNS])
    check_upright(root, file, options)
    same = (document.name, times(len(frames), fps), frames[:, :3], root, fps, "mimickit", file)
    rest = {"wraps": LOOPS[loop], "remarks": remarks}
    if joints == SMPL_JOINTS:
        turns = from_rotation_vectors(frames[:, 3:].reshape(len(frames), -1, 3))
        return [SkeletonMotion(*same, **rest, skeleton=smpl_family.skeleton(), rotations=turns)]
    if joints == HUMANOID_JOINTS:
        turns = _humanoid(root, frames[:, ROOT_COLUMNS:])
        return [SkeletonMotion(*same, **rest, skeleton=humanoid3d.skeleton(), rotations=turns)]
    return [JointMotion(*same, **rest, joint_pos=frames[:, ROOT_COLUMNS:])]


def _mended(frames: np.ndarray, file: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Frames with finite numbers only. MimicKit's converter writes NaN for a ball joint without rotation, and reads it so."""
    if frames.shape[1] - ROOT_COLUMNS not in (SMPL_JOINTS, HUMANOID_JOINTS):
        return finite(frames, file, "frames"), ()
    balls = [3 + 3 * i for i in range(1 + SMPL_JOINTS // 3)]
    if frames.shape[1] - ROOT_COLUMNS == HUMANOID_JOINTS:
        starts = ROOT_COLUMNS + np.cumsum([0, *(3 if axis is None else 1 for _, axis in HUMANOID)])
        balls = [int(start) for start, (_, axis) in zip(starts, HUMANOID, strict=False) if axis is None]
    frames, count = frames.copy(), 0
    for ball in balls:
        unturned = np.isnan(frames[:, ball : ball + 3]).all(axis=1)
        frames[unturned, ball : ball + 3] = 0.0
        count += bool(unturned.any())
    remarks = (f"{count} joint{'s' * (count != 1)} not a number in all three parts: not turned, as MimicKit reads it",)
    return finite(frames, file, "frames"), remarks if count else ()


def _humanoid(root: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Rotations (T, 13, 4) of DeepMimic's skeleton with hanging arms at rest, from joints (T, 28) of one with outstretched arms."""
    names = humanoid3d.skeleton().names
    turns = np.zeros((len(root), len(names), 4))
    turns[:, names.index("root")] = root
    column = 0
    for name, axis in HUMANOID:
        vector = np.zeros((len(root), 3))
        vector[:, slice(None) if axis is None else slice(axis, axis + 1)] = joints[
            :, column : column + (3 if axis is None else 1)
        ]
        column += 3 if axis is None else 1
        turn = torch.from_numpy(from_rotation_vectors(vector))
        if name[2:] in ("Shoulder", "Elbow"):
            hang = humanoid3d.hanging("L" if name[0] == "L" else "R").expand_as(turn)
            turn = R.multiply(turn, R.conjugate(hang))
            turn = R.multiply(hang, turn) if name[2:] == "Elbow" else turn
        turns[:, names.index(name)] = turn.numpy()
    return turns
