"""The status line of a training."""

from collections.abc import Mapping

SHOWN_METRICS = (
    "episode/length",
    "episode/return",
    "episode/success",
    "actor/imitation_loss",
    "actor/distillation_loss",
)
"""Metrics in the status line, if a run has them."""


def shown(metrics: Mapping[str, float]) -> str:
    """The shown metrics, by the last part of their names."""
    return "  ".join(f"{name.split('/')[-1]} {metrics[name]:.4g}" for name in SHOWN_METRICS if name in metrics)


def clock(seconds: float) -> str:
    """Minutes and seconds, as 12:05."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
