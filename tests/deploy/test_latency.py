"""Latencies in constant memory."""

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protege.deploy.loop.latency import BINS_PER_DECADE, Histogram

WIDTH = 10.0 ** (1.0 / BINS_PER_DECADE)  # of a bin


@given(st.lists(st.floats(2e-6, 90.0), min_size=1, max_size=200), st.sampled_from([1.0, 50.0, 95.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_accurate_to_a_bin(samples: list[float], q: float) -> None:
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    exact = sorted(samples)[max(1, math.ceil(q / 100.0 * len(samples))) - 1]
    assert exact / (1 + 1e-9) <= histogram.percentile(q) <= exact * WIDTH * (1 + 1e-9)
    assert histogram.count == len(samples) and histogram.max == max(samples)
    assert histogram.total == pytest.approx(sum(samples))


def test_durations_outside_the_bins_are_counted() -> None:
    histogram = Histogram()
    for seconds in (0.0, 1e-9, 1e-3, 1e6):
        histogram.add(seconds)
    assert histogram.count == 4 and histogram.max == 1e6
    assert histogram.percentile(25.0) <= 1e-6 * WIDTH and histogram.percentile(100.0) >= 100.0 / WIDTH


def test_summary() -> None:
    histogram = Histogram()
    assert histogram.summary() == {} and math.isnan(histogram.percentile(50.0))
    for seconds in np.linspace(0.001, 1.0, 1000):
        histogram.add(float(seconds))
    summary = histogram.summary()
    assert list(summary) == ["p50", "p95", "p99", "p99.9", "max"] and summary["max"] == 1000.0
    assert summary["p50"] == pytest.approx(500.0, rel=0.024) and summary["p99"] == pytest.approx(990.0, rel=0.024)


def test_bins_contain_every_sample() -> None:
    histogram = Histogram()
    for seconds in (1e-3, 1.001e-3, 0.2):
        histogram.add(seconds)
    bins = histogram.bins()
    assert sum(count for _, count in bins) == 3 and bins[-1][0] / WIDTH <= 200.0 <= bins[-1][0]
    assert all(low < high for (low, _), (high, _) in pairwise(bins))


def test_memory_does_not_grow() -> None:
    histogram = Histogram()
    histogram.add(0.5)
    before = sys.getsizeof(histogram._bins)
    for k in range(1000):
        histogram.add(1e-6 * 1.02**k)
    assert sys.getsizeof(histogram._bins) == before and set(vars(histogram)) == {"count", "total", "max", "_bins"}
