"""A moving average of a model's weights: steadier than the last step of a noisy optimiser."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage[M: nn.Module]:
    """Keeps `model`, a copy whose parameters are an exponential moving average of another's (Polyak and Juditsky 1992).

    The average is young at first: update n keeps at most (1 + n) / (10 + n) of the past, so that the starting weights are
    forgotten fast. Buffers (normalisers) are copied: they are running averages already.

    Args:
        source: the model that is trained.
        decay: share of the past that an update keeps in the long run; 0 makes the copy exact.
    """

    def __init__(self, source: M, decay: float) -> None:
        self.model: M = copy.deepcopy(source).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, source: M, updates: int) -> None:
        """Take in the source's weights after its update number `updates` (0, 1, ...)."""
        kept = min(self.decay, (1 + updates) / (10 + updates))
        average = get_ema_multi_avg_fn(kept)  # all parameters at once: a few launches on a GPU, not one for each
        average(list(self.model.parameters()), list(source.parameters()), updates)

    @torch.no_grad()
    def copy_buffers(self, source: M) -> None:
        """Take over the source's buffers."""
        for mine, theirs in zip(self.model.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)
