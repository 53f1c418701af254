"""Progress lines: none for short work, then one every few seconds."""

import pytest

from protege.core import progress
from protege.core.launcher import Launch
from protege.core.progress import Progress


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def count(clock: Clock, seconds: float, things: int = 10) -> None:
    with Progress("clips", things) as counted:
        for done in range(1, things + 1):
            clock.now += seconds
            counted.at(done)


def test_short_work_prints_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    count(clock, 0.29)
    assert capsys.readouterr() == ("", "")


def test_long_work_prints_its_progress(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """After 3 s, then every 5 s, and at the end; on stderr."""
    count(clock, 1.0)
    assert capsys.readouterr() == ("", "clips: 3 of 10, 3 s\nclips: 8 of 10, 8 s\nclips: 10 of 10, 10 s\n")


def test_other_ranks_print_nothing(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "launch", lambda: Launch(rank=1, size=2))
    count(clock, 1.0)
    assert capsys.readouterr() == ("", "")


def test_failed_work_prints_no_last_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with Progress("clips", 2) as counted:
            clock.now += 4.0
            counted.at(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capsys.readouterr().err == "clips: 1 of 2, 4 s\n"
