"""Sums over the episodes that are running, and a row for each that ends."""

import torch
from torch import Tensor


class EpisodeLog:
    """Length, return and metrics of N running episodes.

    Args:
        task_ids: (N,) index of each world's task.
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
        """Count one step's value, where its weight is positive, for the worlds of a slice."""
        row, counts = self.names.index(metric), weight > 0.0
        self.weighted_sum[row, part] += value * weight
        self.weight[row, part] += weight
        self.largest[row, part] = torch.where(
            counts, torch.maximum(self.largest[row, part], value), self.largest[row, part]
        )
        self.last[row, part] = torch.where(counts, value, self.last[row, part])

    def step(self, reward: Tensor) -> None:
        self.length += 1.0
        self.total_reward += reward

    def finish(self, ended: Tensor, failed: Tensor) -> dict[str, Tensor]:
        """One row for each world in `ended` (E,), which starts anew; NaN where a metric was never measured."""
        episodes = {
            "env_id": ended,
            "task": self.task_ids[ended],
            "length": self.length[ended],
            "return": self.total_reward[ended],
            "failed": failed,
        }
        for row, name in enumerate(self.names):
            measured = self.weight[row, ended] > 0.0
            nan = torch.full_like(self.last[row, ended], torch.nan)
            episodes[f"{name}/mean"] = self.weighted_sum[row, ended] / self.weight[row, ended]
            episodes[f"{name}/max"] = torch.where(measured, self.largest[row, ended], nan)
            episodes[f"{name}/last"] = self.last[row, ended].clone()
        self.length[ended] = 0.0
        self.total_reward[ended] = 0.0
        self.weighted_sum[:, ended] = 0.0
        self.weight[:, ended] = 0.0
        self.largest[:, ended] = -torch.inf
        self.last[:, ended] = torch.nan
        return episodes

    def state_dict(self) -> dict[str, Tensor]:
        names = ("length", "total_reward", "weighted_sum", "weight", "largest", "last")
        return {name: getattr(self, name).clone() for name in names}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)
