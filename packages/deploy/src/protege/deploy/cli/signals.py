"""Signals that end a command in order."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C, SIGTERM or SIGHUP ends the run in order; the next Ctrl-C or SIGTERM at once.

    A terminal that is closed sends SIGHUP, and so does its shell. Under nohup, which ignores it, it is left alone.
    """

    def handle(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else before[number])
        stop()

    # What is ignored stays so: `nohup` ignores SIGHUP.
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before: dict[int, Any] = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
