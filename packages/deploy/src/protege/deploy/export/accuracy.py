"""How far the outputs of two models are apart on the same states."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..interface import Array
from ..policy.metadata import Accuracy

BATCH = 256
BOUNDS = {"fp32": 1e-4, "fp16": 0.05, "int8": 0.2}
"""Largest difference of a joint target from that of the policy in fp32, rad, on states of closed loops: more is an error.

In fp32 sums in another order differ by 1e-6 or so, and `protege-deploy check` allows 1e-5; GPUs take other sines and roots.
"""


def run_batches(session: Any, states: Mapping[str, Array], batch: int | None = None) -> list[Array]:
    """All outputs of a session on many states.

    Args:
        session: ONNX Runtime's, or what runs like it.
        states: its inputs by name, (N, ...).
        batch: what the model takes a call, if that is fixed; the last call is then filled up with the last state.

    Returns:
        its outputs, (N, ...) each.
    """
    count, size = len(next(iter(states.values()))), batch or BATCH
    parts = []
    for begin in range(0, count, size):
        rows = np.arange(begin, begin + size)
        rows = rows.clip(max=count - 1) if batch else rows[rows < count]
        parts.append(session.run(None, {name: values[rows] for name, values in states.items()}))
    return [np.concatenate(outputs)[:count] for outputs in zip(*parts, strict=True)]


def compare(actual: Array, expected: Array) -> Accuracy:
    """Of joint targets (N, J), rad; NaN counts as far away."""
    difference = np.abs(np.nan_to_num(actual.astype(np.float64), nan=1e9) - expected)
    return Accuracy(
        len(actual), float(difference.mean()), float(np.percentile(difference, 99)), float(difference.max())
    )
