"""How a training is told to end: after its iteration, or at once."""

import signal
import time
from collections.abc import Callable
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a training after its iteration: Ctrl-C, an end asked for by another program, a terminal that is closed."""

SAME_CTRL_C = 3.0
"""s after Ctrl-C in which another SIGINT is still the first one: the terminal sends it to every rank, torchrun once more."""


class StopSignals:
    """Hears `STOP_SIGNALS` between `hear` and `forget`. One that is ignored before stays ignored.

    Attributes:
        asked: whether one has come.

    Args:
        ranks: how many train together.
        first: is called at the first one.
    """

    def __init__(self, ranks: int, first: Callable[[], None]) -> None:
        self.ranks, self.first = ranks, first
        self.asked, self._asked_at = False, 0.0

    def hear(self) -> None:
        """From now on."""
        heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._old = {number: signal.signal(number, self._stop) for number in heard}

    def forget(self) -> None:
        """Put the handlers back that were there before."""
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked:
            # Only Ctrl-C is impatient: a closed terminal sends SIGHUP, and so do its shell and a pipeline.
            if number != signal.SIGINT or (self.ranks > 1 and now - self._asked_at < SAME_CTRL_C):
                return
            raise KeyboardInterrupt
        self.asked, self._asked_at = True, now
        self.first()
