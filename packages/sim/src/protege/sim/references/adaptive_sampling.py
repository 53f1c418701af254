"""Adaptive sampling: episodes start more often at the times of clips where episodes failed lately."""

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import MotionLibrary, SlotLibrary

MEMORY = 1000
"""Control steps after which what happened counts 1/e."""


def startable_frames[X: (Tensor, np.ndarray)](counts: X, rate: float) -> X:
    """How many of the frames of clips (C,) are starts: one in the last half second would be over before it begins."""
    return (counts - round(0.5 * rate)).clip(1)


class AdaptiveSampler:
    """Samples start frames by recent failure rate.

    After the adaptive sampling of BeyondMimic (arXiv 2508.08241, section III-F): the start times of each clip are cut into bins of
    about a second, failures are averaged exponentially, a bin also counts the failures of the one after it, and the result is
    mixed with the uniform distribution. Unlike there, a failure belongs to the bin in which it happens, and no bin is drawn
    more than `limit` times as often as without all this.

    All is of fixed shape, changed in place and computed on the device, for CUDA graphs.

    Args:
        library: the clips.
        startable: (C,) the first so many frames of each clip are starts; see `startable_frames`.
        dt: s, a control step.
        ratio: share of the starts that is drawn by failure.
        limit: largest multiple of a bin's uniform share, 1 or more.

    Attributes:
        counts: (2, B) failures and attempts in each bin, fading with `MEMORY`. An attempt is a failure or a second that was
            survived. The only state; ranks may average theirs at any time.
        uniform: (B,) the bins' shares where failures do not matter: a clip's, in equal parts.
        kept: the tensors that a checkpoint keeps, by name.
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
        # What follows the last start is of the last bin.
        self.bin = self.first[clip] + torch.minimum(in_clip * self.bins[clip] // startable[clip], self.bins[clip] - 1)
        self.counts = torch.zeros(2, len(self.clip), device=device)

    @property
    def kept(self) -> dict[str, Tensor]:
        return {"adaptive_sampling": self.counts}

    def count(self, frame: Tensor, failed: Tensor) -> None:
        """Count a control step of n envs: the library's frame in which each was (n,), and whether it failed (n,)."""
        self.counts *= 1.0 - 1.0 / MEMORY
        self.counts.index_add_(1, self.bin_at(frame), torch.stack([failed.float(), torch.where(failed, 1.0, self.dt)]))

    def bin_at(self, frame: Tensor) -> Tensor:
        """Which bin the library's frames (n,) are of, (n,)."""
        return self.bin[frame]

    def shares(self) -> Tensor:
        """(B,) how the starts are spread over the bins; sums to 1."""
        failures, attempts = self.counts + 1.0  # as if each bin had been tried once, in vain
        rate = failures / attempts
        # An episode that fails in a bin has to be able to reach it from the bin before.
        weight = self.uniform * (rate + rate[self.next])
        shares = torch.lerp(self.uniform, weight / weight.sum(), self.ratio)
        most = self.limit * self.uniform
        bounded = torch.minimum(shares, most)
        total = bounded.sum()
        # What the limit cuts off is spread over the other bins, in proportion to their distance from the limit.
        return torch.lerp(bounded, most, (1.0 - total) / (self.limit - total).clamp_min(1e-6))

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clips (n,) and where in their starts, (n,) in 0 to 1; evenly within a bin."""
        draws = torch.rand(2, n, device=self.counts.device, generator=generator)
        drawn = torch.bucketize(draws[0], self.shares().cumsum(0)[:-1], right=True)
        clip = self.clip[drawn]
        return clip, (drawn - self.first[clip] + draws[1]) / self.bins[clip]
