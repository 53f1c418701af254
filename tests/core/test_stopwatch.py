"""Seconds of the parts of an iteration."""

import json

import torch
from test_world_model_runs import train

from protege.core.learning import stopwatch
from protege.core.learning.stopwatch import Stopwatch


def test_parts_by_hand(monkeypatch):
    clock = iter([10.0, 11.0, 13.5, 20.0, 20.25])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    watch.lap("a")
    watch.lap("b")
    assert watch.seconds() == {"a": 1.0, "b": 2.5}
    watch.start()
    watch.lap("c")
    assert watch.seconds() == {"c": 0.25}


def test_a_gpu_is_synchronised_once_and_only_when_read(monkeypatch):
    """Events are recorded as they come; of all only the last one is waited for."""
    waits, made = [], []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.number = len(made)
            made.append(self)

        def record(self) -> None: ...
        def synchronize(self) -> None:
            waits.append(self.number)

        def elapsed_time(self, end: "Event") -> float:
            return 100.0 * (end.number - self.number)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    watch = Stopwatch(torch.device("cuda"))
    watch.start()
    watch.lap("a")
    watch.lap("b")
    assert (len(made), waits) == (3, [])
    assert watch.seconds() == {"a": 0.1, "b": 0.1}
    assert waits == [2]


def test_a_training_logs_its_parts(tmp_path):
    """Simulator, model and policy; together no more than the iteration."""
    run = train(tmp_path, "a", "smpl", "--max-iterations", 3)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for before, row in zip([{"seconds": 0.0}, *rows], rows, strict=False):
        parts = [row[f"time/{part}"] for part in ("collect", "model", "policy")]
        assert min(parts) > 0.0
        assert sum(parts) <= row["seconds"] - before["seconds"] + 0.02  # of whose seconds the log has two places
