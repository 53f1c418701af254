"""Detects training that diverges. The run then restarts from its last good checkpoint, or stops."""

from collections.abc import Mapping
from math import isfinite

MAX_BAD_ITERATIONS = 3
"""Consecutive bad iterations after which a run falls back. A single one may be caused by broken environments."""

MAX_FALLS = 3
"""Times that a run may fall back to its last good checkpoint, each time with half the learning rates. Then it stops."""

KL_LIMIT = 50.0
"""Largest KL divergence of an iteration, nats. Normal updates stay far below; moving 69 joints by one deviation gives 35."""

MODEL_LIMIT = 2.0
"""Largest ratio of a world model's open-loop error to that of constant velocities. Early in training it may exceed 1."""


class DivergenceMonitor:
    """Counts bad iterations.

    An iteration is bad if no update had a finite gradient, if a loss is not finite, if `actor/kl` exceeds `KL_LIMIT`, or if a
    world model's error is more than `MODEL_LIMIT` times that of constant velocities.

    Attributes:
        bad_iterations: current number of consecutive bad iterations.

    Args:
        updates: optimizer steps per iteration; 0 if unknown.
    """

    def __init__(self, updates: int = 0) -> None:
        self.updates, self.bad_iterations = updates, 0

    def update(self, metrics: Mapping[str, float]) -> str:
        """Check the metrics of an iteration. Returns the reason if the training has diverged, else an empty string."""
        reason = self._reason(metrics)
        self.bad_iterations = self.bad_iterations + 1 if reason else 0
        return (
            f"{reason}; {MAX_BAD_ITERATIONS} bad iterations in a row"
            if self.bad_iterations >= MAX_BAD_ITERATIONS
            else ""
        )

    def _reason(self, metrics: Mapping[str, float]) -> str:
        skipped = metrics.get("agent/skipped_updates", 0.0)
        if self.updates and skipped >= self.updates - 0.5:
            return f"agent/skipped_updates was {round(skipped)} of {self.updates} (no finite gradient)"
        for name, value in metrics.items():
            if name.startswith(("actor/", "critic/", "model/")) and not isfinite(value):
                return f"{name} was {value}"
        model, constant = (metrics.get(f"model/{name}_error", 0.0) for name in ("open_loop", "constant_velocity"))
        if model > MODEL_LIMIT * constant:
            return f"model/open_loop_error was {model:.3g} m, constant velocities are only {constant:.3g} m off"
        kl = metrics.get("actor/kl", 0.0)
        return f"actor/kl was {kl:.3g} nats, above {KL_LIMIT:g}" if kl > KL_LIMIT else ""
