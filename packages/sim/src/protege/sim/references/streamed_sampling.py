"""Adaptive sampling of a streamed library: the counts of clips that are not on the device stay on the CPU."""

import numpy as np
import torch
from torch import Tensor

from protege.core.motions import StreamedLibrary

from .adaptive_sampling import AdaptiveSampler, startable_frames


class StreamedSampler(AdaptiveSampler):
    """Samples start frames of the clips that are on the device by recent failure rate.

    A clip is loaded onto the device in proportion to its weight. While it is there, its bins are drawn as in `AdaptiveSampler`, and
    its counts decay. The device holds the bins of the clips on it; the CPU holds two numbers for each second of the library.

    Attributes:
        store: (2, A) failures and attempts in all bins of the library, on the CPU; for clips on the device, the values at the time
            when they were loaded.
    """

    def __init__(self, library: StreamedLibrary, dt: float, ratio: float, limit: float) -> None:
        self.library, self.dt, self.ratio, self.limit = library, dt, ratio, limit
        slots, device = library.num_clips, library.device
        seconds = startable_frames(library.source.counts, library.rate) / library.rate
        self.all_bins = np.round(seconds).clip(1).astype(np.int64)  # (C,) in each clip
        self.all_first = self.all_bins.cumsum() - self.all_bins
        # The number of a clip's bins is at most its length in seconds, or one.
        most = library.blocks * (int(library.block_frames / library.rate) + library.block_slots)
        self.held = np.zeros(0, dtype=np.int64)  # indices of the bins that are on the device
        self.store = torch.zeros(2, int(self.all_bins.sum()))
        self.counts, self.uniform = torch.zeros(2, most, device=device), torch.zeros(most, device=device)
        self.clip, self.next = (torch.zeros(most, dtype=torch.long, device=device) for _ in range(2))
        self.bins, self.first, self.startable = (
            torch.ones(slots, dtype=torch.long, device=device) for _ in range(3)
        )  # in each slot
        self.last = torch.zeros((), dtype=torch.long, device=device)
        self.refresh_clips()

    @property
    def saved_state(self) -> dict[str, Tensor]:
        return super().saved_state | {"adaptive_sampling_store": self.store}

    def refresh_clips(self) -> None:
        """Store the counts of the clips that were on the device, and load those of the clips that are there now."""
        self.store[:, self.held] = self.counts[:, : len(self.held)].cpu()
        clips, shares = self.library.clips, self.library.shares.double().cpu().numpy()
        slots = np.flatnonzero(clips >= 0)
        bins = self.all_bins[clips[slots]]
        first, slot = bins.cumsum() - bins, np.repeat(slots, bins)
        bin_ = np.arange(len(slot))
        self.held = np.repeat(self.all_first[clips[slots]] - first, bins) + bin_
        self.counts.zero_()
        self.counts[:, : len(bin_)] = self.store[:, self.held].to(self.counts.device)
        uniform = np.repeat(shares[slots] / bins, bins)
        self.last.fill_(int(np.flatnonzero(uniform)[-1]))
        for target, index, value in (
            (self.bins, slots, bins),
            (self.first, slots, first),
            (self.startable, slots, startable_frames(self.library.source.counts[clips[slots]], self.library.rate)),
            (self.clip, bin_, slot),
            (self.next, bin_, np.minimum(bin_ + 1, np.repeat(first + bins - 1, bins))),
            (self.uniform, bin_, uniform / uniform.sum()),
        ):
            whole = np.zeros(len(target), dtype=value.dtype)
            whole[index] = value
            target.copy_(torch.from_numpy(whole))
        self.bins.clamp_min_(1)

    def bin_at(self, frame: Tensor) -> Tensor:
        slot = self.library.slot_at(frame)
        bins, startable = self.bins[slot], self.startable[slot].clamp_min(1)
        in_clip = frame - self.library.starts[slot]
        return self.first[slot] + torch.minimum(in_clip * bins // startable, bins - 1)

    def sample(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draws = torch.rand(2, n, device=self.counts.device, generator=generator)
        # Sums of shares are rounded: a draw just below 1 may exceed the last of them.
        drawn = torch.bucketize(draws[0], self.shares().cumsum(0)[:-1], right=True).minimum(self.last)
        clip = self.clip[drawn]
        return clip, (drawn - self.first[clip] + draws[1]) / self.bins[clip]
