"""Where the bodies of a skeleton are."""

from collections.abc import Sequence

import numpy as np
import torch

from protege.core.robots import rotation as R


def body_places(root_pos: np.ndarray, rotations: np.ndarray, offsets: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """(T, B, 3) m, world frame, by forward kinematics.

    Args:
        root_pos: (T, 3) m.
        rotations: (T, B, 4) of each body in its parent's frame, the root's in the world's.
        offsets: (B, 3) m, of each body in its parent's frame.
        parents: index of each body's parent, which comes before it; -1 for the root.
    """
    q, places, turns = torch.from_numpy(rotations), [torch.from_numpy(root_pos)], [torch.from_numpy(rotations[:, 0])]
    for index, parent in enumerate(parents[1:], start=1):
        offset = torch.from_numpy(offsets[index]).expand(len(root_pos), 3)
        places.append(places[parent] + R.rotate(turns[parent], offset))
        turns.append(R.multiply(turns[parent], q[:, index]))
    return torch.stack(places, dim=1).numpy()
