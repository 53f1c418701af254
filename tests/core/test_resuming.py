"""Resuming runs."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from toy_env import ToyEnv, toy_robot
from toy_runs import drive, make_run, rows

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


def test_a_finished_run_resumes_when_its_budget_grows(tmp_path):
    drive(make_run(tmp_path, max_iterations=2))
    run = make_run(tmp_path, max_iterations=5)
    policy, counter = drive(run)
    assert (run.iteration, run.samples, counter.count) == (5, 40, 5)
    assert policy.weight.tolist() == [[5.0, 5.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == [0, 1, 2, 3, 4]
    assert [row["samples"] for row in rows(tmp_path)] == [8, 16, 24, 32, 40]


def test_rows_after_the_checkpoint_are_dropped_and_random_numbers_continue(tmp_path):
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


def test_a_run_killed_before_its_first_checkpoint_starts_from_scratch(tmp_path):
    drive(make_run(tmp_path, max_iterations=3))
    (tmp_path / "a" / "last.ckpt").unlink()
    run = make_run(tmp_path, max_iterations=2)
    policy, _ = drive(run)
    assert policy.weight.tolist() == [[2.0, 2.0]]
    assert [row["iteration"] for row in rows(tmp_path)] == [0, 1]


def test_a_new_run_moves_the_old_one_aside(tmp_path, capsys):
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
    assert f"starts from scratch; the earlier run was moved to {aside}" in capsys.readouterr().err


def test_a_new_run_that_is_killed_at_once_does_not_resume_the_old_one(tmp_path):
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


def test_a_checkpoint_without_iterations_can_be_resumed(tmp_path):
    drive(make_run(tmp_path, max_iterations=0))
    run = make_run(tmp_path, max_iterations=2)
    drive(run)
    assert run.iteration == 2 and not (tmp_path / "a" / "previous-1").exists()


def test_temporary_files_of_a_killed_run_are_removed_by_the_next_start(tmp_path):
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


def test_a_run_can_start_from_another_checkpoint(tmp_path):
    drive(make_run(tmp_path, max_iterations=3))
    run = make_run(tmp_path / "b", max_iterations=1, checkpoint=str(tmp_path / "a"))
    policy, counter = drive(run)
    assert policy.weight.tolist() == [[4.0, 4.0]]
    assert (run.iteration, counter.count) == (1, 1)


def test_a_run_folder_loads_its_best_policy(tmp_path):
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
def test_a_run_that_cannot_start_does_not_change_its_folder(tmp_path, change, message):
    drive(make_run(tmp_path, max_iterations=2, seed=1))
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    size = change.pop("size", 2)
    with pytest.raises(UserError, match=message):
        drive(make_run(tmp_path, **{"max_iterations": 4, "seed": 1, **change}), size=size)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before


def test_budget_and_machine_may_change_when_a_run_is_resumed(tmp_path):
    drive(make_run(tmp_path, max_iterations=2))
    (tmp_path / "a").rename(tmp_path / "b")
    settings = RunConfig(
        "b", results_dir=str(tmp_path), max_samples=32, checkpoint_interval=1, num_threads=2, device="cpu"
    )
    settings.compile = settings.mixed_precision = False
    run = Run(Config({"run": settings}), "tracker", toy_robot(), {"proprioception": (4,)})
    drive(run)
    assert (run.iteration, run.samples) == (4, 32)


def test_a_paths_spelling_may_change_when_a_run_is_resumed(tmp_path, monkeypatch):
    drive(make_run(tmp_path / "old", max_iterations=1))
    monkeypatch.chdir(tmp_path)
    drive(make_run(tmp_path, max_iterations=1, motion_file=["a.npy", "x/../b.npy"], checkpoint="old/a"))
    same = {"motion_file": [str(tmp_path / "a.npy"), "b.npy"], "checkpoint": str(tmp_path / "old" / "a")}
    run = make_run(tmp_path, max_iterations=2, **same)
    drive(run)
    assert run.iteration == 2
    with pytest.raises(UserError, match=r"with run\.checkpoint=.*/old/a, not ''"):
        drive(make_run(tmp_path, max_iterations=3, motion_file=["a.npy", "b.npy"]))


def test_initial_weights_must_have_the_same_kind(tmp_path):
    drive(make_run(tmp_path / "old", max_iterations=1))
    with pytest.raises(UserError, match=r"a holds a tracker, not a student\. Give run\.checkpoint a student"):
        drive(make_run(tmp_path / "new", kind="student", max_iterations=1, checkpoint=str(tmp_path / "old" / "a")))


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


def test_with_initial_weights_the_standard_deviation_is_the_configs(tmp_path):
    train_toy(tmp_path, 1)
    settings = RunConfig(
        experiment_name="b", results_dir=str(tmp_path), max_iterations=1, checkpoint=str(tmp_path / "a")
    )
    env, agent = ToyEnv(8), PPOConfig(rollout_steps=12, epochs=2, minibatches=2)
    config = Config({"run": settings, "model": replace(SMALL, log_std=-4.2), "agent": agent})
    with Run(config, "tracker", env.robot, env.obs_shapes) as run:
        train_ppo(run, env, config)
    assert load(tmp_path / "b").metrics["agent/action_std"] == pytest.approx(math.exp(-4.2))
