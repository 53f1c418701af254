"""The order in which clips are loaded onto the device: each in proportion to its weight, in an order that never repeats."""

import heapq
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


class BlockDraws:
    """Draws clips in proportion to their weights, by stride scheduling (Waldspurger and Weihl 1995).

    The k-th draw of a clip of weight w is due at time (k + u) / w, where u is uniform between 0 and 1 and new for each draw. The
    clip with the earliest time is next. So at time t each clip has been drawn w · t times, with a difference of one at most.

    Args:
        weights: (C,) zero for clips that are never drawn; some are positive.
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
        """The next clip; the same one until `take` is called."""
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
