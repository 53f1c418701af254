"""Kills trainings at random times, restarts them and checks their folders. `test_killed_runs.py` does a few; for more:

    python tests/core/killed_runs.py FOLDER --kills 20 --seed 0

Every start is a process of its own that runs the command line; the modules are imported once, before it is forked, so that
twenty starts do not import torch twenty times. Steps of a pipeline are whole new processes.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import click
import torch
from tiny_runs import TINY, TRACKER

from protege.core.cli.umbrella import main
from protege.core.errors import UserError
from protege.core.runs import pipeline
from protege.core.runs.checkpoint import load
from protege.core.runs.lock import locked
from protege.core.runs.pipeline import Step
from protege.core.runs.run_folder import read_metrics

INTERVAL = 4
"""Iterations between checkpoints."""
SAMPLES = 8 * 4
"""Transitions per iteration: TINY's envs and steps."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
TRAINING = (
    "protege.core.runs.experiments",
    "protege.sim.env",
    "mujoco",
    "torch.distributed.fsdp",
    "torch.utils.tensorboard",
)
"""Modules that a training imports."""
TIMEOUT = 120.0
"""Time limit for any operation of a process, s."""


def words(folder: Path, iterations: int) -> list[str]:
    """Command words of a training of the real robot with short iterations."""
    where = ["--results-dir", str(folder), "--experiment-name", "a", "--max-iterations", str(iterations)]
    return ["core", "train", TRACKER, *where, *TINY, f"run.checkpoint_interval={INTERVAL}"]


def start(command: list[str], output: Path, steps: list[Step] | None = None) -> int:
    """Fork a process that runs a command of the umbrella; its output goes to a file. Returns its pid.

    Args:
        steps: those of a pipeline, in place of its preset's.
    """
    if pid := os.fork():
        return pid
    os.setpgid(0, 0)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if steps is not None:
        pipeline.load_steps = lambda *_: steps
    try:
        main(command, prog_name="protege")
    except SystemExit as end:
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    os._exit(0)


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < end, "a process takes too long"
        time.sleep(0.01)


def ended(pid: int) -> int | None:
    """The exit code of a process, -N if signal N ended it, None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def end(pid: int) -> int:
    """Wait for a process. Returns its exit code."""
    codes: list[int] = []
    wait_until(lambda: (code := ended(pid)) is not None and (codes.append(code) or True))
    return codes[0]


def is_free(folder: Path) -> bool:
    """Whether no process works in a folder."""
    try:
        with locked(folder):
            return True
    except UserError:
        return False


class Killer:
    """Starts and kills one run repeatedly, and checks its folder each time."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.run, self.draw = folder, folder / "a", random.Random(seed)
        self.outputs = [folder / "output-0.txt", folder / "output-1.txt"]
        self.logged = self.saved = 0

    def rows(self) -> int:
        return len(read_metrics(self.run / "metrics.jsonl"))

    def round(self, number: signal.Signals, twins: bool, with_pipeline: bool) -> str:
        """One start, or two at once, killed at a random moment. Returns what happened as text."""
        command, steps, place = words(self.folder, 10**6), None, self.run
        if with_pipeline:
            steps, place = [Step("a", command)], self.folder / "p"
            command = ["pipeline", "--results-dir", str(self.folder), "--experiment-name", "p"]
        pids = [start(command, output, steps) for output in self.outputs[: 1 + twins]]
        pid = self.refused(pids, place) if twins else pids[0]
        if self.draw.random() < 0.25:
            time.sleep(self.draw.uniform(0.0, 1.5))  # perhaps before it has begun
        else:
            wanted = self.saved + self.draw.randint(1, 3 * INTERVAL)
            wait_until(lambda: self.running(pid) and self.rows() >= wanted)
            time.sleep(self.draw.uniform(0.0, 0.1))
        if number == signal.SIGINT:
            os.killpg(pid, number)  # like a terminal, which sends it to the whole process group
        else:
            os.kill(pid, number)
        code = end(pid)
        wait_until(lambda: is_free(self.run))  # a killed pipeline's step saves first
        self.check(saves=code == 130 or (with_pipeline and self.rows() > self.logged))
        kind = ("pipeline" if with_pipeline else "run") + (", two at once" if twins else "")
        return f"{kind}, {number.name}, exit code {code}: {self.logged} iterations logged, {self.saved} saved"

    def running(self, pid: int) -> bool:
        assert ended(pid) is None, f"it ended by itself: {[output.read_text() for output in self.outputs]}"
        return True

    def refused(self, pids: list[int], place: Path) -> int:
        """Of two processes one is refused, in one line that names the other. Returns the other's pid."""
        codes: dict[int, int] = {}
        wait_until(lambda: codes or codes.update({pid: code for pid in pids if (code := ended(pid)) is not None}))
        [(loser, code)] = codes.items()
        winner = pids[1 - pids.index(loser)]
        text = self.outputs[pids.index(loser)].read_text()
        assert code == 2 and text.count("\n") == 1, text
        assert f"{place} is in use by process {winner} on " in text and f"kill {winner}" in text, text
        return winner

    def check(self, saves: bool) -> None:
        """Check the files of a killed run: a complete checkpoint, and a log with consecutive rows.

        Args:
            saves: whether it saved before it ended. Then nothing is lost, otherwise at most one interval.
        """
        rows = read_metrics(self.run / "metrics.jsonl")
        assert [row["iteration"] for row in rows] == list(range(len(rows)))
        assert [row["samples"] for row in rows] == [SAMPLES * (i + 1) for i in range(len(rows))]
        last = self.run / "last.ckpt"
        iteration = load(last).iteration if last.is_file() else 0
        assert iteration >= self.saved, "an older checkpoint came back"
        assert 0 <= len(rows) - iteration <= (0 if saves else INTERVAL), (len(rows), iteration)
        self.logged, self.saved = len(rows), iteration

    def finish(self) -> None:
        """Finish the run. No temporary files are left, and it is bitwise equal to one that was never killed."""
        total = self.saved + 2
        assert end(start(words(self.folder, total), self.outputs[0])) == 0, self.outputs[0].read_text()
        self.check(saves=True)
        left = sorted(path.name for path in self.run.iterdir() if "tfevents" not in path.name)
        assert left == ["config.yaml", "last.ckpt", "metrics.jsonl"], left
        whole = self.folder / "whole"
        assert end(start(words(whole, total), self.outputs[0])) == 0, self.outputs[0].read_text()
        killed, never = load(self.run), load(whole / "a")
        assert killed.iteration == never.iteration == total
        assert all(torch.equal(killed.model[name], x) for name, x in never.model.items())
        assert killed.metrics == never.metrics


def kill(folder: Path, kills: int, seed: int) -> None:
    """Kill one run `kills` times, alternating the signals, every fourth time with two starts, every fifth as a pipeline's step."""
    for name in TRAINING:
        import_module(name)
    folder.mkdir(parents=True, exist_ok=True)
    killer = Killer(folder, seed)
    for number in range(kills):
        click.echo(killer.round(SIGNALS[number % 4], twins=number % 4 == 1, with_pipeline=number % 5 == 4))
    killer.finish()
    click.echo(f"{kills} kills: {killer.saved} iterations, equal to those of a run that was never killed")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    kill(given.folder, given.kills, given.seed)
