"""The order in which clips are loaded onto the device: in proportion to their weights, without a repeating pattern."""

import heapq
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


class BlockDraws:
    """Draws clips in proportion to their weights, by stride scheduling (Waldspurger and Weihl 1995).

    The k-th draw of a clip of weight w is due at time (k + u) / w, where u is uniform in [0, 1) and drawn anew each time. The clip
    with the earliest time is next. Until time t each clip is therefore drawn w · t times, within one.

    Args:
        weights: (C,) zero for clips that are never drawn; at least one is positive.
        seed: of u.
    """

    def __init__(self, weights: np.ndarray, seed: int) -> None:
        self.weights, self.generator = weights, torch.Generator().manual_seed(seed)
        self.jitter = torch.rand(len(weights), dtype=torch.float64, generator=self.generator)
        positive = torch.from_numpy(np.where(weights > 0.0, weights, 1.0))
        self.due = torch.where(torch.from_numpy(weights > 0.0), self.jitter / positive, torch.inf)
        self._begin()

    def _begin(self) -> None:
        self.heap = [(due, i) for i, due in enumerate(self.due.tolist()) if due < np.inf]
        heapq.heapify(self.heap)

    def next(self) -> int:
        """Index of the next clip, unchanged until `take` is called."""
        return self.heap[0][1]

    def take(self) -> None:
        """Count the draw of the next clip."""
        due, clip = self.heap[0]
        jitter = float(torch.rand((), dtype=torch.float64, generator=self.generator))
        due += (1.0 + jitter - float(self.jitter[clip])) / self.weights[clip]
        self.jitter[clip], self.due[clip] = jitter, due
        heapq.heapreplace(self.heap, (due, clip))

    def state_dict(self) -> dict[str, Tensor]:
        return {"due": self.due.clone(), "jitter": self.jitter.clone(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.due.copy_(state["due"])
        self.jitter.copy_(state["jitter"])
        self.generator.set_state(state["generator"].cpu())
        self._begin()
