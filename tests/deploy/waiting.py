"""Waiting for what another thread does."""

import time
from collections.abc import Callable
from typing import Any

from protege.deploy.viewer.simulation import Simulation

PATIENCE = 60.0  # s, for what takes a moment on an idle machine


def until(true: Callable[[], Any], what: str) -> None:
    """Wait for it."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def seen(simulation: Simulation) -> Any:
    """Its last step."""
    assert simulation.frame is not None
    return simulation.frame
