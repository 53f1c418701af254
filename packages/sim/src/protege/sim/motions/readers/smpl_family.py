"""SMPL's skeleton (Loper et al. 2015): names, order, mean joints, and the rotation from its own axes to ours.

SMPL's own files list 24 joints breadth first, in a body frame with y up that faces z. Physics models list the same bodies depth
first, with z up, facing x, as we do.
"""

from collections.abc import Sequence

import numpy as np
import torch

from protege.core.robots import rotation as R

from ..source import Skeleton

# Body -> its parent, and its position in the parent's frame at rest, m: the mean body, z up. Depth first.
_BODIES = {
    "Pelvis": ("", (0.0, 0.0, 0.0)),
    "L_Hip": ("Pelvis", (-0.007, 0.070, -0.091)),
    "L_Knee": ("L_Hip", (-0.004, 0.034, -0.375)),
    "L_Ankle": ("L_Knee", (-0.044, -0.014, -0.398)),
    "L_Toe": ("L_Ankle", (0.119, 0.026, -0.056)),
    "R_Hip": ("Pelvis", (-0.004, -0.068, -0.090)),
    "R_Knee": ("R_Hip", (-0.009, -0.038, -0.383)),
    "R_Ankle": ("R_Knee", (-0.042, 0.016, -0.398)),
    "R_Toe": ("R_Ankle", (0.123, -0.025, -0.048)),
    "Torso": ("Pelvis", (-0.027, -0.003, 0.109)),
    "Spine": ("Torso", (0.001, 0.005, 0.135)),
    "Chest": ("Spine", (0.025, 0.002, 0.053)),
    "Neck": ("Chest", (-0.043, -0.003, 0.214)),
    "Head": ("Neck", (0.051, 0.005, 0.065)),
    "L_Thorax": ("Chest", (-0.034, 0.079, 0.122)),
    "L_Shoulder": ("L_Thorax", (-0.009, 0.091, 0.030)),
    "L_Elbow": ("L_Shoulder", (-0.028, 0.260, -0.013)),
    "L_Wrist": ("L_Elbow", (-0.001, 0.249, 0.009)),
    "L_Hand": ("L_Wrist", (-0.015, 0.084, -0.008)),
    "R_Thorax": ("Chest", (-0.039, -0.082, 0.119)),
    "R_Shoulder": ("R_Thorax", (-0.009, -0.096, 0.033)),
    "R_Elbow": ("R_Shoulder", (-0.021, -0.254, -0.013)),
    "R_Wrist": ("R_Elbow", (-0.006, -0.255, 0.008)),
    "R_Hand": ("R_Wrist", (-0.010, -0.085, -0.006)),
}
NAMES = tuple(_BODIES)
FAMILY = "SMPL"
# SMPL's own order; SMPL-H and SMPL-X share the first 22, and have fingers in place of the last two.
OWN_ORDER = ("Pelvis", "L_Hip", "R_Hip", "Torso", "L_Knee", "R_Knee", "Spine", "L_Ankle", "R_Ankle", "Chest", "L_Toe", "R_Toe",
             "Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist",
             "L_Hand", "R_Hand")  # fmt: skip
PELVIS_OFFSET = np.array([-0.0018, -0.2233, 0.0282])
"""m, the mean body's pelvis relative to the origin of `trans`, in its axes: the body rotates about the pelvis, not the origin."""
TO_OURS = torch.tensor([0.5, 0.5, 0.5, 0.5], dtype=torch.float64)
"""The rotation from SMPL's body frame to ours: its z becomes x, its x becomes y, its y becomes z."""


def skeleton(offsets: np.ndarray | None = None, names: Sequence[str] = NAMES) -> Skeleton:
    """SMPL's skeleton, of the mean body or with other offsets (24, 3) m, in the order of `names`, parents first."""
    parents = tuple(-1 if not _BODIES[name][0] else list(names).index(_BODIES[name][0]) for name in names)
    mean = np.array([_BODIES[name][1] for name in names])
    return Skeleton(tuple(names), parents, mean if offsets is None else offsets, FAMILY)


def is_smpl(names: Sequence[str]) -> bool:
    """Whether these are the bodies of SMPL, in any order."""
    return len(names) == len(NAMES) and set(names) == set(NAMES)


def from_own_axes(rotations: np.ndarray) -> np.ndarray:
    """SMPL's rotations (T, J, 4) in its own order and axes -> (T, 24, 4) in ours; missing hands stay straight.

    The root's is the rotation of our body frame in the file's world frame.
    """
    q = torch.from_numpy(rotations)
    to = TO_OURS.expand_as(q)
    ours = R.multiply(R.multiply(to, q), R.conjugate(to))
    ours[:, 0] = R.multiply(q[:, 0], R.conjugate(to[:, 0]))
    found = torch.zeros(len(q), len(NAMES), 4, dtype=torch.float64)
    found[..., 0] = 1.0
    for index, name in enumerate(OWN_ORDER[: q.shape[1]]):
        found[:, NAMES.index(name)] = ours[:, index]
    return found.numpy()
