"""Success of each of many clips in training. The worst clips are logged, because a metric for each would be too many."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FEW = 32
"""Up to so many clips have metrics of their own; of more clips only the worst are logged."""
WORST = 10
MEMORY = 20.0
"""Later episodes of a clip after which an episode counts 1/e."""
ENOUGH = 3.0
"""Least number of counted episodes, after that decay, for which a clip's success is reported."""


class ClipSuccess:
    """Success of C clips, averaged exponentially over the episodes of each. Every rank counts the episodes of all.

    Args:
        names: of the clips.

    Attributes:
        counts: (2, C) successes and episodes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names: list[str] = list(names)
        self.counts = torch.zeros(2, len(names))

    def count(self, episodes: Mapping[str, Tensor]) -> dict[str, float]:
        """Count the episodes that an iteration ended, rows (E,). Returns metrics: the mean of all clips and of the worst."""
        if "clip" not in episodes:
            return {}
        clip, failed = episodes["clip"].cpu(), episodes["failed"].cpu()
        played = clip >= 0
        new = torch.zeros_like(self.counts)
        new.index_add_(1, clip[played], torch.stack([(~failed[played]).float(), torch.ones(int(played.sum()))]))
        self.counts = self.counts * torch.exp(-new[1] / MEMORY) + new
        worst = self.worst()
        if not worst:
            return {}
        known = self.counts[1] >= ENOUGH
        share = self.counts[0, known] / self.counts[1, known]
        return {
            "success/mean_of_clips": float(share.mean()),
            "success/worst_clips": sum(worst.values()) / len(worst),
            "success/clips_seen": float(known.float().mean()),
        }

    def worst(self) -> dict[str, float]:
        """Success of the clips that fail most."""
        share = torch.where(self.counts[1] >= ENOUGH, self.counts[0] / self.counts[1], torch.inf)
        order = share.argsort(stable=True)[:WORST].tolist()
        return {self.names[i]: round(float(share[i]), 3) for i in order if share[i] <= 1.0 + 1e-6}

    def lines(self) -> list[str]:
        """The worst clips, a line each."""
        worst = self.worst()
        width = max(map(len, worst), default=0)
        return [f"{name:<{width}}  {share:>6.1%}" for name, share in worst.items()]

    def state_dict(self) -> dict[str, Any]:
        return {"clip_success": self.counts.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts.copy_(state["clip_success"])
