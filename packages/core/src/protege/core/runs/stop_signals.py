"""Signals that stop a training after the current iteration, or at once."""

import signal
import time
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a training after the current iteration: Ctrl-C, termination by another program, a closed terminal."""

SAME_CTRL_C = 3.0
"""s after Ctrl-C in which another SIGINT belongs to the same one: the terminal sends it to every rank, and torchrun once more."""


class StopSignals:
    """Handles `STOP_SIGNALS` between `install` and `uninstall`. Signals that were ignored before stay ignored.

    Attributes:
        requested: whether a stop signal was received.

    Args:
        ranks: number of ranks in the process group.
        first: called at the first signal.
    """

    def __init__(self, ranks: int, first: Callable[[], None]) -> None:
        self.ranks, self.first = ranks, first
        self.requested, self._requested_at = False, 0.0

    def install(self) -> None:
        """Install the handlers."""
        handled = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._old = {number: signal.signal(number, self._stop) for number in handled}

    def uninstall(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.requested:
            # Only a second Ctrl-C stops at once: a closed terminal, its shell and a pipeline may all send SIGHUP.
            if number != signal.SIGINT or (self.ranks > 1 and now - self._requested_at < SAME_CTRL_C):
                return
            raise KeyboardInterrupt
        self.requested, self._requested_at = True, now
        self.first()
