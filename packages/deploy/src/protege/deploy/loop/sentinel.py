"""Damps the robot while the loop does not come back: a policy, a sensor or a callback that stalls must not leave it alone."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import DeployError
from .pace import priority


class Sentinel:
    """A thread that acts, again and again, while a deadline is over that nobody has put off. Use it in a `with` block.

    Args:
        period: s between two acts, and at most between the deadline and the first.
        act: what to do.
        fifo: priority of SCHED_FIFO that the loop has; the thread takes one more. None: no priority.
    """

    def __init__(self, period: float, act: Callable[[], None], fifo: int | None = None) -> None:
        self._period, self._act, self._fifo = period, act, fifo
        self._deadline, self._ended = float("inf"), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sentinel", daemon=True)

    def expect(self, deadline: float) -> None:
        """All is well until then, s of `time.perf_counter`."""
        self._deadline = deadline

    def _watch(self) -> None:
        # Where it is not permitted, the loop says so.
        with suppress(DeployError), priority(None if self._fifo is None else min(99, self._fifo + 1)):
            self._guard()

    def _guard(self) -> None:
        # Twice as often as it has to act: it acts within a period.
        while not self._ended.wait(self._period / 2.0):
            if time.perf_counter() > self._deadline:
                self._act()
                self._ended.wait(self._period / 2.0)

    def __enter__(self) -> "Sentinel":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
