"""A moving average of a model's weights, which is less noisy than the weights after the last optimiser step."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from protege.core.runs.loop import Hook


class WeightAverage[M: nn.Module](Hook):
    """Keeps `model`, a copy whose parameters are an exponential moving average of another's (Polyak and Juditsky 1992).

    The decay grows at first: in update n it is at most (1 + n) / (10 + n), so that the initial weights soon lose their
    influence. Buffers (normalisers) are copied, because they are running averages already.

    Args:
        source: the model that is trained.
        decay: share of the old average that an update keeps in the long run; at 0 `model` equals the source.
    """

    def __init__(self, source: M, decay: float) -> None:
        self.model: M = copy.deepcopy(source).requires_grad_(False).eval()
        self.source, self.decay, self.updates = source, decay, 0

    def start(self) -> None:
        """Copy the average into the source: a run that starts from a checkpoint loads the weights into the average."""
        if not self.updates:
            self.source.load_state_dict(self.model.state_dict())

    @torch.no_grad()
    def after_step(self) -> None:
        """Update the average with the source's parameters."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)  # all parameters at once: a few kernel launches on a GPU
        average(list(self.model.parameters()), list(self.source.parameters()), self.updates)
        self.updates += 1

    @torch.no_grad()
    def after_update(self, iteration: int) -> dict[str, float]:
        """Copy the source's buffers."""
        for own, source in zip(self.model.buffers(), self.source.buffers(), strict=True):
            own.copy_(source)
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {"distiller": {"student": self.source.state_dict(), "updates": self.updates}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.source.load_state_dict(state["distiller"]["student"])
        self.updates = state["distiller"]["updates"]
