"""A run's folder, log and budget."""

import time

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from toy_env import toy_robot
from toy_runs import drive, make_run, rows

from protege.core.errors import UserError
from protege.core.runs.checkpoint import load
from protege.core.runs.config import Config, RunConfig
from protege.core.runs.run import Run
from protege.core.runs.run_folder import pause_after_save


def test_a_budget_of_iterations(tmp_path):
    run = make_run(tmp_path, max_iterations=3)
    drive(run)
    assert (run.iteration, run.samples, run.finished, run.interrupted, run.progress) == (3, 24, True, False, 1.0)
    logged = rows(tmp_path)
    assert [(row["iteration"], row["samples"], row["episode/length"]) for row in logged] == [
        (0, 8, 0.0),
        (1, 16, 10.0),
        (2, 24, 20.0),
    ]
    assert 0.0 <= logged[0]["seconds"] <= logged[2]["seconds"]
    saved = load(tmp_path / "a")
    assert (saved.iteration, saved.samples, saved.finished, saved.kind, saved.robot) == (3, 24, True, "tracker", "toy")
    assert saved.metrics == {"episode/length": 20.0, "loss": logged[2]["loss"]}
    assert saved.training["counter"] == {"count": 3}
    assert yaml.safe_load((tmp_path / "a" / "config.yaml").read_text()) == run.config.to_dict() == saved.config


def test_a_budget_of_samples_ends_after_the_iteration_that_reaches_it(tmp_path):
    run = make_run(tmp_path, max_samples=20, max_iterations=100)
    drive(run)
    assert (run.iteration, run.samples, run.finished) == (3, 24, True)


def test_a_budget_of_time_counts_all_sessions(tmp_path):
    run = make_run(tmp_path, max_time=0.12)
    drive(run, pause=0.05)
    assert 1 <= run.iteration <= 3
    assert run.seconds >= 0.12
    again = make_run(tmp_path, max_time=0.12)
    drive(again)
    assert (again.iteration, again.seconds) == (run.iteration, run.seconds)


def test_progress_is_that_of_the_nearest_limit(tmp_path):
    run = make_run(tmp_path, max_iterations=10, max_samples=16)
    seen = []
    with run:
        run.restore({"policy": nn.Linear(1, 1)})
        for _ in run:
            seen.append(run.progress)
            run.log({}, samples=4)
    assert seen == [0.0, 0.25, 0.5, 0.75]


@pytest.mark.parametrize("limit", ["max_iterations", "max_samples", "max_time"])
def test_a_zero_budget_runs_no_iteration(tmp_path, limit):
    run = make_run(tmp_path, **{limit: 0})
    drive(run)
    assert (run.iteration, run.finished) == (0, True)


def test_checkpoints_come_at_their_interval_and_at_the_end(tmp_path):
    seen = []
    run = make_run(tmp_path, max_iterations=5, checkpoint_interval=2)
    with run:
        run.restore({"policy": nn.Linear(1, 1)})
        for _ in run:
            path = run.folder / "last.ckpt"
            seen.append((load(path).iteration, load(path).finished) if path.exists() else None)
    assert seen == [None, None, (2, False), (2, False), (4, False)]
    assert load(run.folder).iteration == 5


def test_checkpoints_that_take_long_are_written_less_often(tmp_path, monkeypatch):
    """A save that took 1 s is followed by the next after 20 s, which this run does not reach before its end."""
    monkeypatch.setattr(Run, "_write", lambda run, name, training: (time.sleep(1.0), saved.append(run.iteration)))
    saved: list[int] = []
    with make_run(tmp_path, max_iterations=6, checkpoint_interval=2) as run:
        run.restore({"policy": nn.Linear(1, 1)})
        for _ in run:
            pass
    assert saved == [2, 6]
    assert [pause_after_save(x) for x in (0.4, 1.0)] == [0.0, 20.0]


def test_a_name_with_brackets_is_printed_literally(tmp_path, capsys):
    settings = RunConfig(experiment_name="[/a] [red]", results_dir=str(tmp_path), max_iterations=1)
    with Run(Config({"run": settings}), "tracker", toy_robot(), {}) as run:
        run.restore({"policy": nn.Linear(1, 1)})
        for _ in run:
            run.print_line("here")
    assert "[/a] [red]  here" in capsys.readouterr().err


def test_tensorboard_has_every_metric_once_over_samples(tmp_path):
    drive(make_run(tmp_path, max_iterations=3))
    log = tmp_path / "a" / "metrics.jsonl"
    assert list((tmp_path / "a").glob("events.out.tfevents.*"))
    drive(make_run(tmp_path, max_iterations=5))
    events = EventAccumulator(str(tmp_path / "a"))
    events.Reload()
    scalars = events.Scalars("episode/length")
    assert [(event.step, event.value) for event in scalars] == [(8 * i + 8, 10.0 * i) for i in range(5)]
    assert len(log.read_text().splitlines()) == 5


def test_a_folder_that_is_removed_during_a_run_is_named(tmp_path):
    run = make_run(tmp_path, max_iterations=50)
    with pytest.raises(UserError, match=r"cannot write the log in .*/a \(No such file"), run:  # noqa: PT012
        run.restore({"policy": nn.Linear(1, 1)})
        for iteration in run:
            run.log({"loss": 1.0}, samples=1)
            if iteration == 1:
                time.sleep(0.3)  # TensorBoard's thread has written what it has
                run.folder.rename(tmp_path / "elsewhere")
    assert not run.folder.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*results/a/config\.yaml"):
        drive(make_run(tmp_path / "results", max_iterations=1))
