"""How long the parts of an iteration last on the device, measured without a wait for it."""

import time
from itertools import pairwise
from typing import Any

import torch


class Stopwatch:
    """Times parts of the work that follow each other.

    On a GPU each border between parts is an event in the stream of kernels, and a part lasts from one event to the next: work that
    the host hands over too slowly counts. On a CPU it is the clock.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._borders: list[Any] = []
        self._parts: list[str] = []

    def start(self) -> None:
        """Forget all parts; the next one begins now."""
        self._borders, self._parts = [self._now()], []

    def lap(self, part: str) -> None:
        """This part ends now, and the next one begins."""
        self._parts.append(part)
        self._borders.append(self._now())

    def seconds(self) -> dict[str, float]:
        """Of each part since `start`. Waits for the end of the last one: read it where the work's results are read."""
        borders = self._borders
        if self._events:
            borders[-1].synchronize()
            spans = [begin.elapsed_time(end) / 1000.0 for begin, end in pairwise(borders)]
        else:
            spans = [end - begin for begin, end in pairwise(borders)]
        return dict(zip(self._parts, spans, strict=True))

    def _now(self) -> Any:
        if not self._events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
