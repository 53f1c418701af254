"""Positions of a skeleton's bodies."""

from collections.abc import Sequence

import numpy as np
import torch

from protege.core.robots import rotation as R


def body_poses(
    root_pos: np.ndarray, rotations: np.ndarray, offsets: np.ndarray, parents: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Poses of B bodies in the frame of the root's position: (T, B, 3) m and (T, B, 4) wxyz.

    Args:
        root_pos: (T, 3) m.
        rotations: (T, B, 4) of each body in its parent's frame; the root's in the world's.
        offsets: (B, 3) m, of each body in its parent's frame.
        parents: index of each body's parent, before it; the root's is not used.
    """
    local = torch.from_numpy(np.ascontiguousarray(rotations))
    pos, quat = [torch.from_numpy(root_pos)], [local[:, 0]]
    for body, parent in enumerate(parents[1:], start=1):
        offset = torch.from_numpy(offsets[body]).expand(len(local), 3)
        pos.append(pos[parent] + R.rotate(quat[parent], offset))
        quat.append(R.multiply(quat[parent], local[:, body]))
    return torch.stack(pos, dim=1).numpy(), torch.stack(quat, dim=1).numpy()


def body_positions(
    root_pos: np.ndarray, rotations: np.ndarray, offsets: np.ndarray, parents: Sequence[int]
) -> np.ndarray:
    """The positions alone, (T, B, 3) m; see `body_poses`."""
    return body_poses(root_pos, rotations, offsets, parents)[0]
