"""A command in a process of its own that ends when this one is told to end, or is killed."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

FORWARDED = (signal.SIGTERM, signal.SIGHUP)
"""Signals that are sent to one process. Ctrl-C the terminal sends to the child itself."""


def run_child(words: Sequence[str]) -> tuple[int, bool]:
    """Run a command and wait for it.

    Ctrl-C, SIGTERM and SIGHUP reach the child, which ends as it sees fit: a training saves first. If this process is killed, the
    child gets SIGTERM from the system (on Linux). SIGHUP is left alone where it is ignored, as under nohup.

    Args:
        words: the program and its arguments.

    Returns:
        its exit code, as a shell gives it: 128 + N if signal N ended it; and whether one of these signals came.
    """
    process = subprocess.Popen(words, preexec_fn=_end_with_parent)
    stopped = False

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if number in FORWARDED:
            process.send_signal(number)

    heard = [x for x in (signal.SIGINT, *FORWARDED) if signal.getsignal(x) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in heard}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return (code if code >= 0 else 128 - code), stopped


def _end_with_parent() -> None:
    """Ask the system for SIGTERM when the process that starts this one dies. Called in the child before its program begins."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
