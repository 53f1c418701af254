"""How fast the viewer's time runs: as the real one, slower, step by step, or not at all."""

import threading
import time
from collections.abc import Callable

PAUSE_POLL_SECONDS = 0.01
"""s from one look at a paused simulation's buttons to the next."""


class Playback:
    """Holds the simulation's thread back after each control step. Any thread may change it.

    Attributes:
        speed: simulated seconds in a real second, above 0 and at most 1.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._paused, self._steps = threading.Event(), threading.Semaphore(0)

    @property
    def paused(self) -> bool:
        """Whether time stands still."""
        return self._paused.is_set()

    def pause(self, paused: bool) -> None:
        """Let time stand still, or go on."""
        if paused:
            self._paused.set()
        else:
            self._paused.clear()

    def step(self) -> None:
        """Pause, and play one more control step."""
        self.pause(True)
        self._steps.release()

    def wait(self, dt: float, ends: Callable[[], bool]) -> None:
        """Wait as long as the next step has to.

        Args:
            dt: of a control step, s; a loop in real time waits for this by itself.
            ends: whether the simulation is to end or to begin anew, which nothing holds up.
        """
        due = time.perf_counter() + dt * (1.0 / self.speed - 1.0)
        while not ends():
            left = due - time.perf_counter()
            if left <= 0.0 and (not self.paused or self._steps.acquire(blocking=False)):
                return
            time.sleep(min(PAUSE_POLL_SECONDS, left) if left > 0.0 else PAUSE_POLL_SECONDS)
