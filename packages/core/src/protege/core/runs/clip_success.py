"""Success of each clip in training with many clips. Only the worst clips are logged."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

MAX_CLIP_METRICS = 32
"""Largest number of clips that each have a metric. With more clips only the worst are logged."""
NUM_WORST_CLIPS = 10
MEMORY_EPISODES = 20.0
"""Number of episodes of a clip after which the weight of an older episode has decayed to 1/e."""
MIN_EPISODES = 3.0
"""Smallest weighted number of episodes for which a clip's success is reported."""


class ClipSuccess:
    """Success of C clips, exponentially averaged over each clip's episodes. Every rank counts the episodes of all ranks.

    Args:
        names: of the clips.

    Attributes:
        counts: (2, C) weighted numbers of successes and episodes.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names: list[str] = list(names)
        self.counts = torch.zeros(2, len(names))

    def count(self, episodes: Mapping[str, Tensor]) -> dict[str, float]:
        """Count the episodes that ended in an iteration, rows (E,). Returns metrics: means over all clips and over the worst."""
        if "clip" not in episodes:
            return {}
        clip, failed = episodes["clip"].cpu(), episodes["failed"].cpu()
        played = clip >= 0
        new = torch.zeros_like(self.counts)
        new.index_add_(1, clip[played], torch.stack([(~failed[played]).float(), torch.ones(int(played.sum()))]))
        self.counts = self.counts * torch.exp(-new[1] / MEMORY_EPISODES) + new
        worst = self.worst()
        if not worst:
            return {}
        known = self.counts[1] >= MIN_EPISODES
        share = self.counts[0, known] / self.counts[1, known]
        return {
            "success/mean_of_clips": float(share.mean()),
            "success/worst_clips": sum(worst.values()) / len(worst),
            "success/clips_seen": float(known.float().mean()),
        }

    def worst(self) -> dict[str, float]:
        """Success of the clips that fail most often."""
        share = torch.where(self.counts[1] >= MIN_EPISODES, self.counts[0] / self.counts[1], torch.inf)
        order = share.argsort(stable=True)[:NUM_WORST_CLIPS].tolist()
        return {self.names[i]: round(float(share[i]), 3) for i in order if share[i] <= 1.0 + 1e-6}

    def lines(self) -> list[str]:
        """One line for each of the worst clips."""
        worst = self.worst()
        width = max(map(len, worst), default=0)
        return [f"{name:<{width}}  {share:>6.1%}" for name, share in worst.items()]

    def state_dict(self) -> dict[str, Any]:
        return {"clip_success": self.counts.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.counts.copy_(state["clip_success"])
