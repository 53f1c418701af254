"""Adaptive sampling: episodes start more often at the times of clips where recent episodes failed."""

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import MotionLibrary, SlotLibrary

MEMORY_STEPS = 1000
"""Control steps after which the weight of a count has fallen to 1/e."""


def startable_frames[X: (Tensor, np.ndarray)](counts: X, rate: float) -> X:
    """Number of frames of clips (C,) that may be starts: those of the last half second are too close to the end."""
    return (counts - round(0.5 * rate)).clip(1)


class AdaptiveSampler:
    """Samples start frames by recent failure rate.

    After the adaptive sampling of BeyondMimic (arXiv 2508.08241, section III-F): the start times of each clip are divided into bins
    of about a second, failures are averaged exponentially, a bin also counts the failures of the next one, and the result is mixed
    with the uniform distribution. Unlike there, a failure belongs to the bin in which it happens, and no bin is drawn more than
    `limit` times as often as with uniform sampling.

    All tensors have fixed shapes, are changed in place and stay on the device, as CUDA graphs require.

    Args:
        library: the clips.
        startable: (C,) the first frames of each clip, up to this number, may be starts; see `startable_frames`.
        dt: control period, s.
        ratio: share of the starts that are drawn by failure rate.
        limit: largest multiple of a bin's uniform share, 1 or more.

    Attributes:
        counts: (2, B) failures and attempts in each bin, decaying with `MEMORY_STEPS`. An attempt is a failure, or a second without
            one. This is the only state; ranks may average theirs at any time.
        uniform: (B,) the bins' shares under uniform sampling: a clip's share, in equal parts.
        saved_state: the tensors in a checkpoint, by name.
    """

    def __init__(
        self, library: MotionLibrary | SlotLibrary, startable: Tensor, dt: float, ratio: float, limit: float
    ) -> None:
        device = startable.device
        self.dt, self.ratio, self.limit = dt, ratio, limit
        self.bins = (startable / library.rate).round().clamp_min(1.0).long()  # (C,) in each clip
        self.first = self.bins.cumsum(0) - self.bins
        self.clip = torch.repeat_interleave(self.bins)  # (B,)
        self.uniform = (library.shares / self.bins)[self.clip]
        self.next = torch.minimum(
            torch.arange(len(self.clip), device=device) + 1, (self.first + self.bins - 1)[self.clip]
        )
        clip = torch.repeat_interleave(library.counts)
        in_clip = torch.arange(len(clip), device=device) - library.starts[clip]
        # Frames after the last start belong to the last bin.
        self.bin = self.first[clip] + torch.minimum(in_clip * self.bins[clip] // startable[clip], self.bins[clip] - 1)
        self.counts = torch.zeros(2, len(self.clip), device=device)

    @property
    def saved_state(self) -> dict[str, Tensor]:
        return {"adaptive_sampling": self.counts}

    def count(self, frame: Tensor, failed: Tensor) -> None:
        """Count a control step of n envs: the library frame of each (n,), and whether it failed (n,)."""
        self.counts *= 1.0 - 1.0 / MEMORY_STEPS
        self.counts.index_add_(1, self.bin_at(frame), torch.stack([failed.float(), torch.where(failed, 1.0, self.dt)]))

    def bin_at(self, frame: Tensor) -> Tensor:
        """The bins of the library's frames (n,), (n,)."""
        return self.bin[frame]

    def shares(self) -> Tensor:
        """(B,) share of the starts in each bin; sums to 1."""
        failures, attempts = self.counts + 1.0  # as if each bin had been tried once and had failed
        rate = failures / attempts
        # To fail in a bin, an episode must be able to start in the bin before it.
        weight = self.uniform * (rate + rate[self.next])
        shares = torch.lerp(self.uniform, weight / weight.sum(), self.ratio)
        most = self.limit * self.uniform
        bounded = torch.minimum(shares, most)
        total = bounded.sum()
        # What the limit cuts off is distributed over the other bins, in proportion to their distance from the limit.
        return torch.lerp(bounded, most, (1.0 - total) / (self.limit - total).clamp_min(1e-6))

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clips (n,), and start positions within them, (n,) in 0 to 1; uniform within a bin."""
        draws = torch.rand(2, n, device=self.counts.device, generator=generator)
        drawn = torch.bucketize(draws[0], self.shares().cumsum(0)[:-1], right=True)
        clip = self.clip[drawn]
        return clip, (drawn - self.first[clip] + draws[1]) / self.bins[clip]
