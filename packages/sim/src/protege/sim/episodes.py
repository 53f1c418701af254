"""Sums over the episodes that are running."""

import torch
from torch import Tensor

STARTS = dict.fromkeys(("length", "total_reward", "weighted_sum", "weight"), 0.0) | {
    "largest": -torch.inf,
    "last": torch.nan,
}
"""The sums of an `EpisodeLog`, and what they are when an episode begins."""


class EpisodeLog:
    """Length, return and metrics of N running episodes.

    Args:
        task_ids: (N,) index of each env's task.
        metrics: each task's metric names.
    """

    def __init__(self, task_ids: Tensor, metrics: dict[str, list[str]]) -> None:
        n, device = len(task_ids), task_ids.device
        self.task_ids = task_ids
        self.names = sorted({name for names in metrics.values() for name in names})
        self.length = torch.zeros(n, device=device)
        self.total_reward = torch.zeros(n, device=device)
        self.weighted_sum = torch.zeros(len(self.names), n, device=device)
        self.weight = torch.zeros_like(self.weighted_sum)
        self.largest = torch.full_like(self.weighted_sum, -torch.inf)
        self.last = torch.full_like(self.weighted_sum, torch.nan)

    def add(self, metric: str, part: slice, value: Tensor, weight: Tensor) -> None:
        """Count one step's value, where its weight is positive, for the envs of a slice."""
        row, counts = self.names.index(metric), weight > 0.0
        self.weighted_sum[row, part] += value * weight
        self.weight[row, part] += weight
        self.largest[row, part] = torch.where(
            counts, torch.maximum(self.largest[row, part], value), self.largest[row, part]
        )
        self.last[row, part] = torch.where(counts, value, self.last[row, part])

    def step(self, reward: Tensor) -> None:
        """Count a step and its reward (N,)."""
        self.length += 1.0
        self.total_reward += reward

    def rows(self, failed: Tensor) -> dict[str, Tensor]:
        """The episodes so far, (N,) each; NaN where a metric was never measured."""
        rows = {
            "task": self.task_ids.clone(),
            "length": self.length.clone(),
            "return": self.total_reward.clone(),
            "failed": failed.clone(),
        }
        measured = self.weight > 0.0
        nan = torch.full_like(self.last, torch.nan)
        mean, largest = self.weighted_sum / self.weight, torch.where(measured, self.largest, nan)
        for row, name in enumerate(self.names):
            rows[f"{name}/mean"], rows[f"{name}/max"] = mean[row], largest[row]
            rows[f"{name}/last"] = self.last[row].clone()
        return rows

    def restart(self, mask: Tensor) -> None:
        """New episodes in the envs where mask (N,) is True."""
        for name, start in STARTS.items():
            getattr(self, name).masked_fill_(mask, start)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in STARTS}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)
