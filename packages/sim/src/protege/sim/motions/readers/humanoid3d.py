"""DeepMimic's own humanoid, humanoid3d: the meaning of its numbers, its skeleton, and its surface."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from protege.core.robots import rotation as R

from ..source import Skeleton

FAMILY = "humanoid3d"
FRAME_WIDTH = 44
"""Numbers in a frame."""
LEG_LENGTH = 0.88
"""m, from the root to the soles."""
# The clips' own humanoid (humanoid3d), left side; the right side is mirrored: joint -> its parent, and its position there, m.
SKELETON = {
    "chest": ("root", (0.0, 0.0, 0.236151)),
    "neck": ("chest", (0.0, 0.0, 0.223894)),
    "Hip": ("root", (0.0, 0.084887, 0.0)),
    "Knee": ("Hip", (0.0, 0.0, -0.421546)),
    "Ankle": ("Knee", (0.0, 0.0, -0.409870)),
    "Shoulder": ("chest", (-0.02405, 0.18311, 0.24350)),
    "Elbow": ("Shoulder", (0.0, 0.0, -0.274788)),
}
# Its surface: joint -> points and the radius of the ball around each, m. Feet are boxes, hands are fixed to the elbows.
SURFACE = {
    "root": ([(0.0, 0.0, 0.07)], 0.09),
    "chest": ([(0.0, 0.0, 0.12)], 0.11),
    "neck": ([(0.0, 0.0, 0.175)], 0.1025),
    "Hip": ([(0.0, 0.0, -0.06), (0.0, 0.0, -0.36)], 0.055),
    "Knee": ([(0.0, 0.0, -0.045), (0.0, 0.0, -0.355)], 0.05),
    "Ankle": ([(x, y, z) for x in (-0.0435, 0.1335) for y in (-0.045, 0.045) for z in (-0.05, 0.005)], 0.0),
    "Shoulder": ([(0.0, 0.0, -0.05), (0.0, 0.0, -0.23)], 0.045),
    "Elbow": ([(0.0, 0.0, -0.0525), (0.0, 0.0, -0.258947)], 0.04),
}

# Joint name -> first column of its rotation, and number of columns.
COLUMNS = {
    "root": (4, 4),
    "chest": (8, 4),
    "neck": (12, 4),
    "R_Hip": (16, 4),
    "R_Knee": (20, 1),
    "R_Ankle": (21, 4),
    "R_Shoulder": (25, 4),
    "R_Elbow": (29, 1),
    "L_Hip": (30, 4),
    "L_Knee": (34, 1),
    "L_Ankle": (35, 4),
    "L_Shoulder": (39, 4),
    "L_Elbow": (43, 1),
}


def skeleton() -> Skeleton:
    """The humanoid's skeleton: 13 bodies, at rest upright, facing x, with hanging arms."""
    bodies = {"root": ("", (0.0, 0.0, 0.0)), **{name: SKELETON[name] for name in ("chest", "neck")}}
    for side, sign in (("R", -1.0), ("L", 1.0)):
        for name in ("Hip", "Knee", "Ankle", "Shoulder", "Elbow"):
            parent, (x, y, z) = SKELETON[name]
            bodies[f"{side}_{name}"] = (parent if parent in bodies else f"{side}_{parent}", (x, sign * y, z))
    names = tuple(bodies)
    parents = tuple(names.index(parent) if parent else -1 for parent, _ in bodies.values())
    return Skeleton(names, parents, np.array([offset for _, offset in bodies.values()]), FAMILY)


def hanging(side: Literal["L", "R"]) -> Tensor:
    """(4,) the rotation of an arm from stretched out sideways to hanging."""
    angle = -math.pi / 2 if side == "L" else math.pi / 2
    return R.from_axis_angle(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), torch.tensor(angle).double())


def to_world(frames: np.ndarray, stride: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """Root positions (T, 3) m relative to the first one, and joint rotations (T, 4), in our axes: (x, y, z) -> (x, -z, y).

    Args:
        frames: (T, 44).
        stride: scale of the root's horizontal travel.
    """
    data = torch.from_numpy(frames)
    x, y, z = data[:, 1:4].unbind(-1)
    root_pos = torch.stack([stride * (x - x[0]), -stride * (z - z[0]), y], dim=-1)
    rotations = {}
    for joint, (start, width) in COLUMNS.items():
        if width == 4:
            w, a, b, c = data[:, start : start + 4].unbind(-1)
            rotations[joint] = torch.stack([w, a, -c, b], dim=-1)
        else:
            # Single angles turn about the clip's z, our -y.
            axis = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
            rotations[joint] = R.from_axis_angle(axis.expand(len(data), 3), data[:, start])
    return root_pos, rotations


def contact_points(root_pos: Tensor, rotations: dict[str, Tensor]) -> np.ndarray:
    """For each of B body parts the position of its origin, with the height of its lowest point as z, (T, B, 3) m.

    Args:
        root_pos: (T, 3) m.
        rotations: (T, 4) of each joint, in its parent's frame; the root's in the world frame.
    """

    def turned(q: Tensor, offset: tuple[float, float, float], sign: float = 1.0) -> Tensor:
        x, y, z = offset
        return R.rotate(q, torch.tensor([x, sign * y, z], dtype=torch.float64).expand(len(q), 3))

    parts = []
    for side, sign in (("L", 1.0), ("R", -1.0)):
        frames = {"root": (root_pos, rotations["root"])}
        for joint, (parent, offset) in SKELETON.items():
            pos, quat = frames[parent]
            rotation = rotations[joint if joint in rotations else f"{side}_{joint}"]
            frames[joint] = pos + turned(quat, offset, sign), R.multiply(quat, rotation)
        for joint, (points, radius) in SURFACE.items():
            pos, quat = frames[joint]
            height = torch.stack([(pos + turned(quat, point))[:, 2] for point in points]).amin(dim=0) - radius
            parts.append(torch.cat([pos[:, :2], height[:, None]], dim=1))
    return torch.stack(parts, dim=1).numpy()
