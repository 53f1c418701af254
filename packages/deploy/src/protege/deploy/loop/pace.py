"""Timing of steps: absolute deadlines on a monotonic clock, precise sleep, and real-time scheduling."""

import ctypes
import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from math import floor

from ..errors import DeployError

CATCH_UP = {
    "skip": "ticks that are over are left out: the next step begins at the next tick that is still to come",
    "burst": "no tick is left out: late steps run at once, one after the other, until they have caught up",
}
LEAST_SPIN, MOST_SPIN = 5e-5, 2e-3  # s
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # of Linux's sys/mman.h
SWITCH_INTERVAL = 5e-4  # s; with Python's 5 ms a thread that computes holds up the loop for as long


class Pace:
    """Ticks, one period apart, counted from the start, so that delays do not accumulate.

    Args:
        period: s.
        catch_up: a key of `CATCH_UP`: the treatment of ticks that are past when a step ends.
        realtime: wait for the ticks. Otherwise each step begins immediately.

    Attributes:
        tick: when the present step should begin, s of `time.perf_counter`.
        skipped: number of skipped ticks.
    """

    def __init__(self, period: float, catch_up: str = "skip", *, realtime: bool = True) -> None:
        if catch_up not in CATCH_UP:
            raise DeployError(f"unknown catch-up policy {catch_up!r}", f"Choose {' or '.join(CATCH_UP)}")
        self.period, self.catch_up, self.realtime = period, catch_up, realtime
        self.skipped, self._sleep = 0, PreciseSleep()
        self.tick = time.perf_counter()

    def wait(self) -> float:
        """Wait for the tick; returns the delay after it, s."""
        if not self.realtime:
            self.tick = time.perf_counter()
            return 0.0
        return self._sleep.until(self.tick) - self.tick

    def advance(self, ended: float) -> float:
        """Advance to the next tick; returns by how much a step that ended at `ended` exceeded its period, s; may be negative."""
        overrun = ended - self.tick - self.period
        skips = overrun > 0.0 and self.catch_up == "skip" and self.realtime
        left_out = floor(overrun / self.period) + 1 if skips else 0
        self.skipped += left_out
        self.tick += self.period * (1 + left_out)
        return overrun


class PreciseSleep:
    """Sleeps until shortly before a moment and spins for the rest. The margin adapts to the delays of waking up."""

    def __init__(self) -> None:
        self._spin = 2e-4

    def until(self, moment: float) -> float:
        """Wait until a time of `perf_counter`; returns the time afterwards."""
        left = moment - time.perf_counter()
        if left > self._spin:
            time.sleep(left - self._spin)
            late = self._spin - (moment - time.perf_counter())
            # The margin grows immediately and shrinks by a percent per tick.
            self._spin = min(MOST_SPIN, max(LEAST_SPIN, 1.5 * late, 0.99 * self._spin))
        while (now := time.perf_counter()) < moment:
            pass
        return now


def suspended() -> float:
    """How long this computer has been suspended since it was started, s; 0 where the system does not say.

    The monotonic clock, by which the loop runs, stands still meanwhile. Being held up between the two readings makes it smaller.
    """
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0.0
    since_start = time.clock_gettime(time.CLOCK_BOOTTIME)
    return since_start - time.clock_gettime(time.CLOCK_MONOTONIC)


@contextmanager
def undisturbed() -> Iterator[None]:
    """In the block, other threads yield soon, and the garbage collector ignores the objects that exist already."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)


@contextmanager
def priority(fifo: int | None = None, core: int | None = None) -> Iterator[None]:
    """In the block, the calling thread has a real-time priority and its own core.

    With a priority the process's memory is locked too, if that is permitted: reloading a library's page that the kernel has dropped
    takes tens of milliseconds.

    Args:
        fifo: priority of `SCHED_FIFO`, 1 to 99; None leaves the scheduler as it is.
        core: number of a CPU core; None leaves the choice to the kernel.

    Raises:
        DeployError: not permitted, or no such priority or core.
    """
    if (core is not None or fifo is not None) and not hasattr(os, "sched_setscheduler"):
        raise DeployError("priorities and cores can be set on Linux only", "Leave out --fifo and --core")
    with ExitStack() as undo:
        if core is not None:
            cores = os.sched_getaffinity(0)
            _pin(core)
            undo.callback(os.sched_setaffinity, 0, cores)
        if fifo is not None:
            before = os.sched_getscheduler(0), os.sched_getparam(0)
            _schedule(fifo)
            undo.callback(os.sched_setscheduler, 0, *before)
            undo.enter_context(_locked_memory())
        yield


@contextmanager
def _locked_memory() -> Iterator[None]:
    """In the block, pages that the process has touched stay in memory. Without permission this has no effect."""
    libc = ctypes.CDLL(None)
    libc.mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)
    try:
        yield
    finally:
        libc.munlockall()


def _pin(core: int) -> None:
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, ValueError, OverflowError) as error:
        usable = ", ".join(map(str, sorted(os.sched_getaffinity(0))))
        raise DeployError(f"this process cannot run on core {core}", f"Cores that it can: {usable}") from error


def _schedule(fifo: int) -> None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(fifo))
    except PermissionError as error:
        raise DeployError(
            f"SCHED_FIFO with priority {fifo} is not permitted",
            "Run as root, raise the limit (ulimit -r), or leave out --fifo",
        ) from error
    except (OSError, ValueError, OverflowError) as error:
        raise DeployError(f"SCHED_FIFO has no priority {fifo}", "Give 1 to 99") from error
