"""Runs a command in a child process that ends when this process is stopped or killed."""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

FORWARDED = (signal.SIGTERM, signal.SIGHUP)
"""Signals that are forwarded to the child. For Ctrl-C the terminal itself sends SIGINT to the child."""


def run_child(words: Sequence[str]) -> tuple[int, bool]:
    """Run a command and wait for it.

    Ctrl-C, SIGTERM and SIGHUP reach the child, which may save before it ends. If this process is killed, the system sends SIGTERM
    to the child (on Linux). SIGHUP stays ignored if it was ignored, as under nohup.

    Args:
        words: the program and its arguments.

    Returns:
        its exit code as in a shell, 128 + N if signal N ended it; and whether one of these signals was received.
    """
    process = subprocess.Popen(words, preexec_fn=_end_with_parent)
    stopped = False

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if number in FORWARDED:
            process.send_signal(number)

    handled = [x for x in (signal.SIGINT, *FORWARDED) if signal.getsignal(x) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in handled}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return (code if code >= 0 else 128 - code), stopped


def _end_with_parent() -> None:
    """Request SIGTERM for this process when its parent dies. Called in the child before its program begins."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
