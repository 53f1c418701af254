"""Signals during a run: Ctrl-C, and a closed terminal."""

import os
import signal

import pytest
from torch import nn
from toy_runs import drive, make_run, rows

from protege.core.runs.checkpoint import load


def test_ctrl_c_ends_after_the_iteration_and_saves(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    run = make_run(tmp_path, max_iterations=10)
    drive(run, stop_at=3)
    assert (run.iteration, run.interrupted, run.finished) == (4, True, False)
    assert (load(tmp_path / "a").iteration, load(tmp_path / "a").finished) == (4, False)
    assert signal.getsignal(signal.SIGINT) is before
    policy, _ = drive(make_run(tmp_path, max_iterations=10))
    assert policy.weight.tolist() == [[10.0, 10.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == list(range(10))


def test_a_second_ctrl_c_stops_at_once(tmp_path):
    reached = []

    def interrupted_twice():
        with make_run(tmp_path, max_iterations=10) as run:
            run.restore({"policy": nn.Linear(1, 1)})
            for _ in run:
                signal.raise_signal(signal.SIGINT)
                reached.append("after the first")
                signal.raise_signal(signal.SIGINT)
                reached.append("after the second")

    with pytest.raises(KeyboardInterrupt):
        interrupted_twice()
    assert reached == ["after the first"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_repeated_termination_signals_are_not_a_second_ctrl_c(tmp_path, number):
    before = signal.getsignal(number)
    run = make_run(tmp_path, max_iterations=10)
    with run:
        run.restore({"policy": nn.Linear(1, 1)})
        for _ in run:
            for _ in range(3):  # a closed terminal's, its shell's and a pipeline's
                signal.raise_signal(number)
    assert (run.iteration, run.interrupted, load(tmp_path / "a").iteration) == (1, True, 1)
    assert signal.getsignal(number) is before


def test_under_nohup_a_closed_terminal_does_not_end_a_run(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with make_run(tmp_path, max_iterations=2) as run:
            run.restore({"policy": nn.Linear(1, 1)})
            for _ in run:
                signal.raise_signal(signal.SIGHUP)
        assert (run.iteration, run.finished) == (2, True)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_terminal_does_not_end_a_run_that_prints(tmp_path):
    """Writing to a closed pseudo-terminal is an error; training continues without output."""
    other, terminal = os.openpty()
    file = os.fdopen(terminal, "w")
    run = make_run(tmp_path, max_iterations=3)
    run._console.file = file
    with run:
        run.restore({"policy": nn.Linear(1, 1)})
        for iteration in run:
            if iteration == 1:
                os.close(other)
                run.print_line("to nobody")
                assert run._console.quiet
    assert (run.iteration, run.finished) == (3, True)
    with pytest.raises(OSError, match="Input/output error"):
        file.close()  # the output that could not be written
