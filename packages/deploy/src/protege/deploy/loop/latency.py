"""Histograms of durations, in constant memory."""

import math
from array import array

LOWEST, DECADES, BINS_PER_DECADE = 1e-6, 8, 100  # s; neighbouring edges are 2.3 % apart
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}


class Histogram:
    """Durations, counted in bins that are evenly spaced in the logarithm, from 1 µs to 100 s.

    Attributes:
        count: of the durations.
        total: their sum, s.
        max: the longest, s.
    """

    def __init__(self) -> None:
        self.count, self.total, self.max = 0, 0.0, 0.0
        self._bins = array("Q", bytes(8 * DECADES * BINS_PER_DECADE))

    def add(self, seconds: float) -> None:
        """Count a duration; one below the first bin is counted there, one above the last in the last."""
        self.count, self.total, self.max = self.count + 1, self.total + seconds, max(self.max, seconds)
        place = int(math.log10(seconds / LOWEST) * BINS_PER_DECADE) if seconds > LOWEST else 0
        self._bins[min(place, len(self._bins) - 1)] += 1

    def percentile(self, q: float) -> float:
        """The duration that q percent do not exceed, s, to 2.3 %; nan if there is none."""
        if not self.count:
            return math.nan
        rank, below = max(1, math.ceil(q / 100.0 * self.count)), 0
        for place, count in enumerate(self._bins):
            below += count
            if below >= rank:
                return min(self.max, LOWEST * 10.0 ** ((place + 1) / BINS_PER_DECADE))
        return self.max

    def summary(self) -> dict[str, float]:
        """p50, p95, p99, p99.9 and max, ms; empty if nothing was counted."""
        if not self.count:
            return {}
        return {name: 1e3 * self.percentile(q) for name, q in PERCENTILES.items()} | {"max": 1e3 * self.max}

    def bins(self) -> list[tuple[float, int]]:
        """The bins that are not empty: upper edge, ms, and count."""
        return [
            (1e3 * LOWEST * 10.0 ** ((place + 1) / BINS_PER_DECADE), count)
            for place, count in enumerate(self._bins)
            if count
        ]
