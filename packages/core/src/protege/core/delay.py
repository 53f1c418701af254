"""Action delay in whole control steps, for simulated and imagined envs."""

import torch
from torch import Tensor


def queued(action: Tensor, sent: Tensor) -> Tensor:
    """The queue of sent actions, newest first: the new action (N, J) and the D earlier ones (N, D, J) -> (N, D + 1, J)."""
    return torch.cat([action.unsqueeze(1), sent], dim=1)


def arriving(queue: Tensor, delay: Tensor) -> Tensor:
    """The actions that take effect now, (N, J).

    Args:
        queue: (N, D + 1, J), see `queued`.
        delay: (N,) control steps, at most D.
    """
    return queue.take_along_dim(delay[:, None, None], dim=1).squeeze(1)
