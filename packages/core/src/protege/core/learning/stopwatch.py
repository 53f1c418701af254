"""Durations of the parts of an iteration on the device, measured without synchronisation."""

import time
from itertools import pairwise
from typing import Any

import torch


class Stopwatch:
    """Measures consecutive parts of the work.

    On a GPU a CUDA event marks each boundary between parts, and a part's duration is the time between two events. It includes time
    in which the GPU waits for the host. On a CPU the host's clock is used.

    Args:
        device: of the work.
    """

    def __init__(self, device: torch.device) -> None:
        self._events = device.type == "cuda"
        self._boundaries: list[Any] = []
        self._parts: list[str] = []

    def start(self) -> None:
        """Discard all parts and begin the first one."""
        self._boundaries, self._parts = [self._now()], []

    def lap(self, part: str) -> None:
        """End this part and begin the next one."""
        self._parts.append(part)
        self._boundaries.append(self._now())

    def seconds(self) -> dict[str, float]:
        """Duration of each part since `start`, s. Waits for the end of the last part, so call it where results are read anyway."""
        boundaries = self._boundaries
        if self._events:
            boundaries[-1].synchronize()
            spans = [begin.elapsed_time(end) / 1000.0 for begin, end in pairwise(boundaries)]
        else:
            spans = [end - begin for begin, end in pairwise(boundaries)]
        return dict(zip(self._parts, spans, strict=True))

    def _now(self) -> Any:
        if not self._events:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event
