"""A moving average of a model's weights: steadier than the last step of a noisy optimiser."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from protege.core.runs.loop import Hook


class WeightAverage[M: nn.Module](Hook):
    """Keeps `model`, a copy whose parameters are an exponential moving average of another's (Polyak and Juditsky 1992).

    The average is young at first: update n keeps at most (1 + n) / (10 + n) of the past, so that the starting weights are
    forgotten fast. Buffers (normalisers) are copied: they are running averages already.

    Args:
        source: the model that is trained.
        decay: share of the past that an update keeps in the long run; 0 makes the copy exact.
    """

    def __init__(self, source: M, decay: float) -> None:
        self.model: M = copy.deepcopy(source).requires_grad_(False).eval()
        self.source, self.decay, self.updates = source, decay, 0

    def start(self) -> None:
        """A run that starts from a checkpoint's weights has loaded them into the average: the source takes them over."""
        if not self.updates:
            self.source.load_state_dict(self.model.state_dict())

    @torch.no_grad()
    def after_step(self) -> None:
        """Take in the source's weights."""
        kept = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(kept)  # all parameters at once: a few launches on a GPU, not one for each
        average(list(self.model.parameters()), list(self.source.parameters()), self.updates)
        self.updates += 1

    @torch.no_grad()
    def after_update(self, iteration: int) -> dict[str, float]:
        """Take over the source's buffers."""
        for mine, theirs in zip(self.model.buffers(), self.source.buffers(), strict=True):
            mine.copy_(theirs)
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"distiller": {"student": self.source.state_dict(), "updates": self.updates}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.source.load_state_dict(state["distiller"]["student"])
        self.updates = state["distiller"]["updates"]
