"""Histories of measurements."""

import torch
from torch import Tensor


class History:
    """A measurement of n envs now and in the last control steps. The tensors are changed in place, like the env's own.

    Args:
        n: number of envs.
        steps: H, number of control steps.
        size: P, length of a measurement.

    Attributes:
        now: (n, P).
        past: (n, H, P), the values before it, newest first.
    """

    def __init__(self, n: int, steps: int, size: int, device: torch.device) -> None:
        self.now = torch.zeros(n, size, device=device)
        self.past = torch.zeros(n, steps, size, device=device)

    def next_past(self) -> Tensor:
        """The past of the next control step, (n, H, P)."""
        return torch.cat([self.now.unsqueeze(1), self.past[:, :-1]], dim=1)

    def restart(self, mask: Tensor, now: Tensor, past: Tensor) -> Tensor:
        """Store a measurement and its past. Where mask (n,) is True an episode starts: its past repeats `now`. Returns the past."""
        past = torch.where(mask[:, None, None], now.unsqueeze(1), past)
        self.now.copy_(now)
        self.past.copy_(past)
        return past
