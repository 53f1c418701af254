"""Speed of the viewer's simulation: real time, slow motion, single steps or pause."""

import threading
import time
from collections.abc import Callable

PAUSE_POLL_SECONDS = 0.01
"""Interval at which a paused simulation checks its controls, s."""


class Playback:
    """Delays the simulation's thread after each control step. Any thread may change the speed.

    Attributes:
        speed: simulated seconds in a real second, above 0 and at most 1.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._paused, self._steps = threading.Event(), threading.Semaphore(0)

    @property
    def paused(self) -> bool:
        """Whether the simulation is paused."""
        return self._paused.is_set()

    def pause(self, paused: bool) -> None:
        """Pause or resume."""
        if paused:
            self._paused.set()
        else:
            self._paused.clear()

    def step(self) -> None:
        """Pause after one more control step."""
        self.pause(True)
        self._steps.release()

    def wait(self, dt: float, ends: Callable[[], bool]) -> None:
        """Wait until the next step may begin.

        Args:
            dt: duration of a control step, s, for which a real-time loop already waits itself.
            ends: whether the simulation ends or restarts, which ends the wait.
        """
        due = time.perf_counter() + dt * (1.0 / self.speed - 1.0)
        while not ends():
            left = due - time.perf_counter()
            if left <= 0.0 and (not self.paused or self._steps.acquire(blocking=False)):
                return
            time.sleep(min(PAUSE_POLL_SECONDS, left) if left > 0.0 else PAUSE_POLL_SECONDS)
