"""A run's folder, log and budget, and how it goes on after being stopped."""

import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from toy_env import ToyEnv, toy_robot

from protege.core.errors import UserError
from protege.core.learning.learner import Learner
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig
from protege.core.runs.checkpoint import load
from protege.core.runs.config import Config, RunConfig
from protege.core.runs.experiments import train_ppo
from protege.core.runs.load_policy import make_actor_critic
from protege.core.runs.loop import train_loop
from protege.core.runs.run import Run


class Counter:
    """A part with a state."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict:
        return {"count": self.count}

    def load_state_dict(self, state: dict) -> None:
        self.count = state["count"]


def make_run(folder: Path, kind: str = "tracker", **settings) -> Run:
    config = Config({"run": RunConfig(experiment_name="a", results_dir=str(folder), **settings)})
    return Run(config, kind, toy_robot(), {"proprioception": (4,)})


def drive(run: Run, stop_at: int | None = None, size: int = 2, pause: float = 0.0) -> tuple[nn.Linear, Counter]:
    """Iterations that add 1 to a weight and 8 samples."""
    policy, counter = nn.Linear(size, 1, bias=False), Counter()
    nn.init.zeros_(policy.weight)
    with run:
        run.restore({"policy": policy, "counter": counter})
        for iteration in run:
            time.sleep(pause)
            counter.count += 1
            policy.weight.data += 1.0
            run.log({"episode/length": 10.0 * iteration, "loss": torch.rand(()).item()}, samples=8)
            if iteration == stop_at:
                os.kill(os.getpid(), signal.SIGINT)
    return policy, counter


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "a" / "metrics.jsonl").read_text().splitlines()]


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
def test_a_budget_of_nothing_does_nothing(tmp_path, limit):
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


def test_a_finished_run_goes_on_when_its_budget_grows(tmp_path):
    drive(make_run(tmp_path, max_iterations=2))
    run = make_run(tmp_path, max_iterations=5)
    policy, counter = drive(run)
    assert (run.iteration, run.samples, counter.count) == (5, 40, 5)
    assert policy.weight.tolist() == [[5.0, 5.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert [row["samples"] for row in rows(tmp_path)] == [8, 16, 24, 32, 40]


def test_rows_after_the_checkpoint_are_dropped_and_torch_draws_on(tmp_path):
    torch.manual_seed(5)
    drive(make_run(tmp_path, max_iterations=6))
    whole = rows(tmp_path)

    torch.manual_seed(5)
    drive(make_run(tmp_path / "b", max_iterations=4))
    # As if it had been killed two iterations after its checkpoint, in the middle of a row.
    log = tmp_path / "b" / "a" / "metrics.jsonl"
    log.write_text(log.read_text() + '{"iteration": 4, "samples": 40, "loss": 9.0}\n{"iteration": 5, "sam')
    torch.manual_seed(99)
    drive(make_run(tmp_path / "b", max_iterations=6))
    again = rows(tmp_path / "b")
    assert [row["iteration"] for row in again] == [0, 1, 2, 3, 4, 5]
    assert [row["loss"] for row in again] == [row["loss"] for row in whole]


def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    drive(make_run(tmp_path, max_iterations=3))
    (tmp_path / "a" / "last.ckpt").unlink()
    run = make_run(tmp_path, max_iterations=2)
    policy, _ = drive(run)
    assert policy.weight.tolist() == [[2.0, 2.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == [0, 1]


def test_a_run_that_begins_anew_moves_the_old_one_aside(tmp_path, capsys):
    run = make_run(tmp_path, max_iterations=3)
    drive(run)
    run.save_best({"score": 1.0})
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    fresh = make_run(tmp_path, max_iterations=1, resume=False)
    policy, _ = drive(fresh)
    assert policy.weight.tolist() == [[1.0, 1.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == [0]
    assert load(tmp_path / "a").iteration == 1 and not (tmp_path / "a" / "best.ckpt").exists()
    aside = tmp_path / "a" / "previous-1"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == before
    assert load(aside / "last.ckpt").iteration == 3
    assert f"begins anew; what was here is in {aside}" in capsys.readouterr().err


def test_a_run_that_begins_anew_and_is_killed_at_once_does_not_come_back_as_the_old_one(tmp_path):
    drive(make_run(tmp_path, max_iterations=3, seed=1))
    with make_run(tmp_path, max_iterations=9, seed=1, resume=False) as run:
        run.restore({"policy": nn.Linear(2, 1, bias=False)})
        for _ in run:
            run.log({"loss": 7.0}, samples=8)
            break  # as if killed before its first checkpoint
    assert [row["loss"] for row in rows(tmp_path)] == [7.0]
    policy, _ = drive(make_run(tmp_path, max_iterations=2, seed=1))
    assert policy.weight.tolist() == [[2.0, 2.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == [0, 1]
    assert load(tmp_path / "a" / "previous-1").iteration == 3
    assert not (tmp_path / "a" / "previous-2").exists()


def test_a_checkpoint_of_no_iterations_is_gone_on_from(tmp_path):
    drive(make_run(tmp_path, max_iterations=0))
    run = make_run(tmp_path, max_iterations=2)
    drive(run)
    assert run.iteration == 2 and not (tmp_path / "a" / "previous-1").exists()


def test_what_a_killed_run_was_writing_is_removed_by_the_next_start(tmp_path):
    drive(make_run(tmp_path, max_iterations=1))
    (tmp_path / "a" / ".last.ckpt.k1ll_ed0").write_bytes(b"half")
    drive(make_run(tmp_path, max_iterations=2))
    assert [path.name for path in (tmp_path / "a").glob(".*")] == []


def test_a_damaged_log_is_named_and_nothing_is_written(tmp_path):
    drive(make_run(tmp_path, max_iterations=2))
    log = tmp_path / "a" / "metrics.jsonl"
    log.write_text("{\n" + log.read_text())
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged in line 1\. Delete it"):
        drive(make_run(tmp_path, max_iterations=4))
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    log.unlink()
    drive(make_run(tmp_path, max_iterations=4))
    assert [row["iteration"] for row in rows(tmp_path)] == [2, 3]


def test_another_checkpoint_can_be_the_start(tmp_path):
    drive(make_run(tmp_path, max_iterations=3))
    run = make_run(tmp_path / "b", max_iterations=1, checkpoint=str(tmp_path / "a"))
    policy, counter = drive(run)
    assert policy.weight.tolist() == [[4.0, 4.0]]
    assert (run.iteration, counter.count) == (1, 1)


def test_the_best_policy_stands_for_the_run(tmp_path):
    run = make_run(tmp_path, max_iterations=3)
    policy = nn.Linear(1, 1)
    with run:
        run.restore({"policy": policy})
        for iteration in run:
            policy.weight.data.fill_(iteration)
            if iteration == 1:
                run.save_best({"score": 0.9})
    best = load(tmp_path / "a")
    assert best.model["weight"].item() == 1.0
    assert (best.metrics, best.training) == ({"score": 0.9}, {})
    assert load(tmp_path / "a" / "last.ckpt").model["weight"].item() == 2.0


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
def test_being_told_to_end_again_and_again_is_no_second_ctrl_c(tmp_path, number):
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


def test_a_terminal_that_is_gone_ends_no_run(tmp_path):
    """Writing to a pseudo-terminal whose other end is closed is an error; the training says no more, and goes on."""
    other, terminal = os.openpty()
    file = os.fdopen(terminal, "w")
    run = make_run(tmp_path, max_iterations=3)
    run._console.file = file
    with run:
        run.restore({"policy": nn.Linear(1, 1)})
        for iteration in run:
            if iteration == 1:
                os.close(other)
                run.say("to nobody")
                assert run._console.quiet
    assert (run.iteration, run.finished) == (3, True)
    with pytest.raises(OSError, match="Input/output error"):
        file.close()  # what it could not say


def test_a_name_with_brackets_is_said_as_it_is(tmp_path, capsys):
    settings = RunConfig(experiment_name="[/a] [red]", results_dir=str(tmp_path), max_iterations=1)
    with Run(Config({"run": settings}), "tracker", toy_robot(), {}) as run:
        run.restore({"policy": nn.Linear(1, 1)})
        for _ in run:
            run.say("here")
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"seed": 2},
            r"last\.ckpt was trained with run\.seed=1, not 2\. Leave that as it was, or begin anew: --no-resume",
        ),
        ({"motion_file": ["a.npy", "b.npy"]}, r"with run\.motion_file=\[\], not \[a\.npy, b\.npy\]"),
        ({"kind": "student"}, r"last\.ckpt holds a tracker, not a student\. Choose another --experiment-name"),
        ({"size": 3}, r"last\.ckpt holds a policy of another shape \(weight"),
        ({"checkpoint": "missing", "resume": False}, "no checkpoint at missing"),
    ],
)
def test_a_run_that_cannot_start_leaves_its_folder_as_it_was(tmp_path, change, message):
    drive(make_run(tmp_path, max_iterations=2, seed=1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    size = change.pop("size", 2)
    with pytest.raises(UserError, match=message):
        drive(make_run(tmp_path, **{"max_iterations": 4, "seed": 1, **change}), size=size)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_budget_and_machine_may_change_when_a_run_goes_on(tmp_path):
    drive(make_run(tmp_path, max_iterations=2))
    (tmp_path / "a").rename(tmp_path / "b")
    settings = RunConfig(
        "b", results_dir=str(tmp_path), max_samples=32, checkpoint_interval=1, num_threads=2, device="cpu"
    )
    settings.compile = settings.mixed_precision = False
    run = Run(Config({"run": settings}), "tracker", toy_robot(), {"proprioception": (4,)})
    drive(run)
    assert (run.iteration, run.samples) == (4, 32)


def test_a_path_may_be_spelt_otherwise_when_a_run_goes_on(tmp_path, monkeypatch):
    drive(make_run(tmp_path / "old", max_iterations=1))
    monkeypatch.chdir(tmp_path)
    drive(make_run(tmp_path, max_iterations=1, motion_file=["a.npy", "x/../b.npy"], checkpoint="old/a"))
    same = {"motion_file": [str(tmp_path / "a.npy"), "b.npy"], "checkpoint": str(tmp_path / "old" / "a")}
    run = make_run(tmp_path, max_iterations=2, **same)
    drive(run)
    assert run.iteration == 2
    with pytest.raises(UserError, match=r"with run\.checkpoint=.*/old/a, not ''"):
        drive(make_run(tmp_path, max_iterations=3, motion_file=["a.npy", "b.npy"]))


def test_weights_to_start_from_are_of_the_same_kind(tmp_path):
    drive(make_run(tmp_path / "old", max_iterations=1))
    with pytest.raises(UserError, match=r"a holds a tracker, not a student\. Give run\.checkpoint a student"):
        drive(make_run(tmp_path / "new", kind="student", max_iterations=1, checkpoint=str(tmp_path / "old" / "a")))


def test_a_folder_that_vanishes_is_named(tmp_path):
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


SMALL = ModelConfig(latent_dim=16, ff_size=16, num_layers=1, num_heads=2, mlp_units=[16], critic_units=[16])


def train_toy(folder: Path, iterations: int) -> dict[str, torch.Tensor]:
    """Weights of a tracker of the toy robot."""
    torch.manual_seed(0)
    env = ToyEnv(8)
    policy = make_actor_critic(env, SMALL)
    agent = PPOConfig(rollout_steps=12, epochs=2, minibatches=2)
    settings = RunConfig(experiment_name="a", results_dir=str(folder), max_iterations=iterations)
    config = Config({"run": settings, "model": SMALL, "agent": agent})
    with Run(config, "tracker", env.robot, env.obs_shapes) as run:
        train_loop(run, env, Learner(PPO(policy, agent), env.reset()))
    return policy.state_dict()


def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path):
    whole = train_toy(tmp_path / "whole", 5)
    train_toy(tmp_path / "parts", 2)
    torch.rand(17)
    parts = train_toy(tmp_path / "parts", 5)
    assert all(torch.equal(parts[name], x) for name, x in whole.items())
    log = [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "whole")]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in rows(tmp_path / "parts")] == log


def test_from_other_weights_on_the_deviation_is_the_configs(tmp_path):
    train_toy(tmp_path, 1)
    settings = RunConfig(
        experiment_name="b", results_dir=str(tmp_path), max_iterations=1, checkpoint=str(tmp_path / "a")
    )
    env, agent = ToyEnv(8), PPOConfig(rollout_steps=12, epochs=2, minibatches=2)
    config = Config({"run": settings, "model": replace(SMALL, log_std=-4.2), "agent": agent})
    with Run(config, "tracker", env.robot, env.obs_shapes) as run:
        train_ppo(run, env, config)
    assert load(tmp_path / "b").metrics["agent/action_std"] == pytest.approx(math.exp(-4.2))
