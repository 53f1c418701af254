"""Sums over the running episodes."""

import torch
from torch import Tensor

STARTS = {"length": 0.0, "total_reward": 0.0}
"""Sums of an `EpisodeLog` that every episode has, with their values at the start of an episode."""
METRIC_STARTS = {"weighted_sum": 0.0, "weight": 0.0, "largest": -torch.inf, "last": torch.nan}
"""Sums that it has for each metric, with their values at the start of an episode."""


class EpisodeLog:
    """Length, return and metrics of N running episodes.

    Args:
        task_ids: (N,) index of each env's task.
        metrics: each task's metric names.

    Attributes:
        length, total_reward: (N,).
        weighted_sum, weight, largest, last: (M, N), a row for each metric.
    """

    def __init__(self, task_ids: Tensor, metrics: dict[str, list[str]]) -> None:
        self.task_ids = task_ids
        self.names = sorted({name for names in metrics.values() for name in names})
        rows = len(self.names)
        starts = [*STARTS.values(), *(start for start in METRIC_STARTS.values() for _ in range(rows))]
        # All sums are rows of one tensor, so that one operation resets them.
        self._starts = torch.tensor(starts, device=task_ids.device).unsqueeze(1)
        self._sums = self._starts.repeat(1, len(task_ids))
        (self.length, self.total_reward), per_metric = self._sums[: len(STARTS)], self._sums[len(STARTS) :]
        self.weighted_sum, self.weight, self.largest, self.last = per_metric.unflatten(0, (len(METRIC_STARTS), rows))

    def add(self, metric: str, part: slice, value: Tensor, weight: Tensor) -> None:
        """Add one step's value, where its weight is positive, for the envs of a slice."""
        at, counts = (self.names.index(metric), part), weight > 0.0
        largest, last = self.largest[at], self.last[at]
        self.weighted_sum[at].addcmul_(value, weight)
        self.weight[at].add_(weight)
        torch.maximum(largest, torch.where(counts, value, -torch.inf), out=largest)
        torch.where(counts, value, last, out=last)

    def step(self, reward: Tensor) -> None:
        """Count a step and its reward (N,)."""
        self.length += 1.0
        self.total_reward += reward

    def rows(self, failed: Tensor) -> dict[str, Tensor]:
        """The episodes so far, (N,) each; NaN where a metric was never measured."""
        rows = {
            "task": self.task_ids,
            "length": self.length.clone(),
            "return": self.total_reward.clone(),
            "failed": failed,
        }
        mean, last = self.weighted_sum / self.weight, self.last.clone()
        largest = torch.where(self.weight > 0.0, self.largest, torch.nan)
        for row, name in enumerate(self.names):
            rows |= {f"{name}/mean": mean[row], f"{name}/max": largest[row], f"{name}/last": last[row]}
        return rows

    def restart(self, mask: Tensor) -> None:
        """Start new episodes in the envs where mask (N,) is True."""
        torch.where(mask, self._starts, self._sums, out=self._sums)

    def state_dict(self) -> dict[str, Tensor]:
        return {name: getattr(self, name).clone() for name in (*STARTS, *METRIC_STARTS)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for name, value in state.items():
            getattr(self, name).copy_(value)
