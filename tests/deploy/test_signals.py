"""A run in the loop ends in order after a signal."""

import signal

import pytest

from protege.deploy.cli.signals import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_loop_cleanly(number):
    stopped, before = [], signal.getsignal(number)
    with interruptible(lambda: stopped.append(number)):
        signal.raise_signal(number)
        assert stopped == [number]
        # A closed terminal and its shell both send SIGHUP; a second one of the others ends the run at once.
        assert signal.getsignal(number) is (signal.SIG_IGN if number == signal.SIGHUP else before)
    assert signal.getsignal(number) is before


def test_under_nohup_a_closed_terminal_stops_nothing():
    stopped, before = [], signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(lambda: stopped.append(True)):
            signal.raise_signal(signal.SIGHUP)
        assert stopped == []
    finally:
        signal.signal(signal.SIGHUP, before)
