"""Runs commands in child processes that end when this process is stopped or killed."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import click

FORWARDED = (signal.SIGTERM, signal.SIGHUP)
"""Signals that are forwarded to the children. For Ctrl-C the terminal itself sends SIGINT to them."""
START_FILE = "PROTEGE_START_FILE"
"""Environment variable of a child that waits for others: the file that appears when it may start."""


def run_child(words: Sequence[str], environment: Mapping[str, str] | None = None) -> tuple[int, bool]:
    """Run a command and wait for it. It prints to this process's terminal; see `wait_for` for the rest.

    Args:
        words: the program and its arguments.
        environment: variables to add to this process's.
    """
    [code], stopped = wait_for([_started(words, environment or {})])
    return code, stopped


def run_children(
    commands: Mapping[str, Sequence[str]],
    environments: Mapping[str, Mapping[str, str]],
    followers: Collection[str] = (),
) -> tuple[list[int], bool]:
    """Run commands at the same time and wait for all. If one fails, the others go on. See `wait_for` for the rest.

    Args:
        commands: program and arguments by name. The name stands before each line that the command prints.
        environments: variables to add to this process's, by name.
        followers: names of commands that get ready and then wait, in `wait_for_start`, until all others have ended. If one of those
            failed, they receive SIGTERM.
    """
    processes, readers = dict[str, subprocess.Popen[str]](), []
    with tempfile.TemporaryDirectory(prefix="protege-") as folder:
        start = Path(folder) / "start"
        for name, words in commands.items():
            variables = {"PYTHONUNBUFFERED": "1", **environments.get(name, {})}
            variables |= {START_FILE: str(start)} if name in followers else {}
            processes[name] = _started(
                words, variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
            )
            readers.append(threading.Thread(target=_print_lines, args=(name, processes[name]), daemon=True))
        leaders = [process for name, process in processes.items() if name not in followers]
        waiting = [processes[name] for name in followers]
        readers.append(threading.Thread(target=_start_followers, args=(leaders, waiting, start), daemon=True))
        for reader in readers:
            reader.start()
        found = wait_for(list(processes.values()))
        for reader in readers:
            reader.join()
    return found


def wait_for_start(stopped: Callable[[], bool]) -> None:
    """Wait until the commands that this process follows have ended; see `run_children`. Other processes do not wait.

    Args:
        stopped: whether a signal was received.

    Raises:
        SystemExit: 130, after a signal.
    """
    if start := os.environ.get(START_FILE):
        while not Path(start).exists():
            if stopped():
                raise SystemExit(130)
            time.sleep(0.1)


def wait_for(processes: Sequence[subprocess.Popen[str]]) -> tuple[list[int], bool]:
    """Wait for children to end.

    Ctrl-C, SIGTERM and SIGHUP reach the children, which may save before they end. If this process is killed, the system sends
    SIGTERM to them (on Linux). SIGHUP stays ignored if it was ignored, as under nohup.

    Returns:
        their exit codes as in a shell, 128 + N if signal N ended one; and whether one of these signals was received.
    """
    stopped = False

    def forward(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        if number in FORWARDED:
            for process in processes:
                process.send_signal(number)

    handled = [x for x in (signal.SIGINT, *FORWARDED) if signal.getsignal(x) is not signal.SIG_IGN]
    before = {number: signal.signal(number, forward) for number in handled}
    try:
        codes = [process.wait() for process in processes]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return [code if code >= 0 else 128 - code for code in codes], stopped


def _started(words: Sequence[str], variables: Mapping[str, str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(words, preexec_fn=_end_with_parent, env={**os.environ, **variables}, **options)


def _print_lines(name: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout
    with process.stdout as lines:
        for line in lines:
            click.echo(f"{name}: {line}", nl=False)


def _start_followers(
    leaders: Sequence[subprocess.Popen[str]], waiting: Sequence[subprocess.Popen[str]], start: Path
) -> None:
    """Create the file `start` when all leaders have ended with exit code 0. If one fails, terminate those that wait for it."""
    if all(process.wait() == 0 for process in leaders):
        start.touch()
        return
    for process in waiting:
        process.terminate()


def _end_with_parent() -> None:
    """Request SIGTERM for this process when its parent dies. Called in the child before its program begins."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
