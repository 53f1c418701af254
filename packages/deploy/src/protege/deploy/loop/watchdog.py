"""Damps the robot when the control loop stalls in a policy, a sensor or a callback."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import DeployError
from .pace import priority


class Watchdog:
    """A thread that calls `act` repeatedly once a deadline has passed, until the deadline is moved. Use it in a `with` block.

    Args:
        period: s between two calls, and at most from the deadline to the first call.
        act: the function to call.
        fifo: SCHED_FIFO priority of the loop; the thread's priority is one higher. None: no priority.
    """

    def __init__(self, period: float, act: Callable[[], None], fifo: int | None = None) -> None:
        self._period, self._act, self._fifo = period, act, fifo
        self._deadline, self._ended = float("inf"), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def expect(self, deadline: float) -> None:
        """Move the deadline, s of `time.perf_counter`."""
        self._deadline = deadline

    def _watch(self) -> None:
        # If it is not permitted, the loop reports it.
        with suppress(DeployError), priority(None if self._fifo is None else min(99, self._fifo + 1)):
            self._guard()

    def _guard(self) -> None:
        # Check twice per period, so that the first call comes within a period of the deadline.
        while not self._ended.wait(self._period / 2.0):
            if time.perf_counter() > self._deadline:
                self._act()
                self._ended.wait(self._period / 2.0)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
