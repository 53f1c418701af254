"""Whether a training has diverged: it then goes on from its last good checkpoint, or stops."""

from collections.abc import Mapping
from math import isfinite

MAX_BAD_ITERATIONS = 3
"""Bad iterations in a row that make a run fall back: a single one may come from broken environments."""

MAX_FALLS = 3
"""How often a run falls back to its last good checkpoint, with half the learning rates each time. The next time it ends."""

KL_LIMIT = 50.0
"""nats that a policy may move by in an iteration. Far beyond any use: 69 joints moved by their whole deviation each are 35."""

MODEL_LIMIT = 2.0
"""Open-loop error of a world model over that of constant velocities. One that has hardly begun to learn may be above 1."""


class DivergenceMonitor:
    """Counts bad iterations.

    An iteration is bad if no update had a finite gradient, if a loss is not finite, if the policy jumped (`actor/kl`), or if a
    model of the world is `MODEL_LIMIT` times as far off as constant velocities are.

    Attributes:
        bad_iterations: bad iterations up to now, in a row.

    Args:
        updates: optimiser steps of an iteration; 0 if unknown.
    """

    def __init__(self, updates: int = 0) -> None:
        self.updates, self.bad_iterations = updates, 0

    def see(self, metrics: Mapping[str, float]) -> str:
        """Look at an iteration's metrics. Returns what is wrong if the training has diverged, else nothing."""
        trouble = self._trouble(metrics)
        self.bad_iterations = self.bad_iterations + 1 if trouble else 0
        return (
            f"{trouble}; {MAX_BAD_ITERATIONS} bad iterations in a row"
            if self.bad_iterations >= MAX_BAD_ITERATIONS
            else ""
        )

    def _trouble(self, metrics: Mapping[str, float]) -> str:
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
