"""Ticks, catching up, priorities: what is decided, not how fast this machine is."""

import gc
import os
import sys
import time

import pytest

from protege.deploy.errors import DeployError
from protege.deploy.loop.pace import Pace, PreciseSleep, priority, undisturbed


def overran(catch_up: str, *periods: float) -> tuple[list[float], int]:
    """Where the ticks after some steps are, in periods, and how many were left out; steps begin on time and end so late."""
    pace = Pace(0.1, catch_up)
    start, ticks = pace.tick, []
    for length in periods:
        pace.advance(pace.tick + length * 0.1)
        ticks.append(round((pace.tick - start) / 0.1, 6))
    return ticks, pace.skipped


def test_steps_within_their_period_keep_the_grid() -> None:
    assert overran("skip", 0.1, 0.9, 0.99) == ([1.0, 2.0, 3.0], 0)


def test_skip_continues_at_the_next_future_tick() -> None:
    assert overran("skip", 1.5, 0.5, 3.2, 0.1) == ([2.0, 3.0, 7.0, 8.0], 4)


def test_burst_skips_no_tick() -> None:
    assert overran("burst", 1.5, 0.5, 3.2, 0.1) == ([1.0, 2.0, 3.0, 4.0], 0)


def test_late_steps_of_a_burst_do_not_wait() -> None:
    pace = Pace(10.0, "burst")
    pace.tick -= 35.0
    lateness = []
    for _ in range(3):
        lateness.append(pace.wait())
        pace.advance(time.perf_counter())
    assert lateness[0] > 34.9 and 24.9 < lateness[1] < lateness[0] and 14.9 < lateness[2] < lateness[1]


def test_without_real_time_no_tick_is_awaited_or_skipped() -> None:
    pace = Pace(1000.0, realtime=False)
    for _ in range(3):
        assert pace.wait() == 0.0
        assert pace.advance(pace.tick + 2500.0) == pytest.approx(1500.0)
    assert pace.skipped == 0


def test_an_unknown_catch_up_policy_is_reported() -> None:
    with pytest.raises(DeployError, match=r"unknown catch-up policy 'hurry'\. Choose skip or burst"):
        Pace(0.1, "hurry")


def test_sleep_never_wakes_early_and_adapts() -> None:
    sleep = PreciseSleep()
    for _ in range(20):
        moment = time.perf_counter() + 2e-3
        assert sleep.until(moment) >= moment
    assert 5e-5 <= sleep._spin <= 2e-3
    past = time.perf_counter() - 1.0
    assert sleep.until(past) > past


def test_priorities_and_cores_are_restored() -> None:
    before = os.sched_getscheduler(0), os.sched_getaffinity(0)
    core = max(before[1])
    with priority(core=core):
        assert os.sched_getaffinity(0) == {core}
    assert (os.sched_getscheduler(0), os.sched_getaffinity(0)) == before


def test_an_invalid_core_or_priority_is_a_one_line_error() -> None:
    before = os.sched_getscheduler(0), os.sched_getaffinity(0)
    for options, message in [
        ({"core": 100_000}, "this process cannot run on core 100000. Cores that it can: "),
        ({"core": -1}, "cannot run on core -1"),
        ({"core": 2**70}, "cannot run on core"),
        ({"fifo": 2**70}, "has no priority"),
    ]:
        with pytest.raises(DeployError, match=message), priority(**options):
            raise AssertionError
    assert (os.sched_getscheduler(0), os.sched_getaffinity(0)) == before


def test_a_priority_without_permission_is_a_one_line_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with (
        pytest.raises(DeployError, match=r"SCHED_FIFO with priority 10 is not permitted\. Run as root"),
        priority(fifo=10),
    ):
        raise AssertionError


def test_a_priority_is_set_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is permitted here or not."""
    priorities = list[tuple[int, int]]()
    monkeypatch.setattr(
        os, "sched_setscheduler", lambda _, policy, param: priorities.append((policy, param.sched_priority))
    )
    with priority(fifo=42):
        assert priorities == [(os.SCHED_FIFO, 42)]
    assert priorities == [(os.SCHED_FIFO, 42), (os.sched_getscheduler(0), os.sched_getparam(0).sched_priority)]


def test_undisturbed_restores_its_settings() -> None:
    before = sys.getswitchinterval()
    with undisturbed():
        assert sys.getswitchinterval() < before and gc.get_freeze_count() > 0
    assert sys.getswitchinterval() == before and gc.get_freeze_count() == 0
