"""MaskedMimic trained through a world model: it resumes exactly, and the result is used like any other MaskedMimic."""

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import TRACKER, protege
from tiny_runs import train as train_tiny

from protege.core.runs.checkpoint import Checkpoint, load
from protege.core.runs.load_policy import load_policy

PRESET = "masked_mimic/world_model"
ENVS = ["run.device=cpu", "run.num_threads=1", "env.num_envs=8", "env.num_plans=8", "env.history_steps=2"]
MODEL = ["agent.model_units=[16]", "agent.imagined_envs=8", "agent.model_batch=8", "agent.warmup_steps=12"]
MODEL += ["agent.replay_steps=16", "agent.warmup_updates=2", "agent.horizon=3", "agent.model_updates=2"]
MODEL += ["agent.policy_updates=2"]
SIZES = ["agent.latent_dim=16", "agent.ff_size=16", "agent.num_layers=1", "agent.num_heads=2", "agent.latent_size=4"]
SIZES += [f"agent.{part}_units=[16]" for part in ("prior", "encoder", "decoder", "critic")]
TINY = [*ENVS, *MODEL, *SIZES]
STEADY = "agent.final_rate=1"  # otherwise rates would decrease with a shorter budget


def train(results: Path, name: str, robot: str, *words: object, expert: object = "''", preset: str = PRESET) -> Path:
    where = ["--results-dir", results, "--experiment-name", name, "--robot", robot]
    result = protege("core", "train", preset, *where, *TINY, f"agent.expert_model_path={expert}", *words)
    assert result.exit_code == 0, result.output
    return results / name


@pytest.fixture(scope="module")
def tracker(robot, tmp_path_factory) -> Path:
    """A tracker of this robot after one iteration of PPO."""
    folder = tmp_path_factory.mktemp(robot.name)
    return train_tiny(TRACKER, folder, "tracker", "--robot", robot.name, "run.max_iterations=1")


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same(mine: Checkpoint, other: Checkpoint) -> bool:
    """Whether weights, the trained policy, the model and the replay are bitwise equal."""
    a, b = (x.training["trainer"] for x in (mine, other))
    tables = [(mine.model, other.model), (a["actor"], b["actor"]), (a["model"], b["model"])]
    equal = all(torch.equal(x[name], y[name]) for x, y in tables for name in x)
    return equal and torch.equal(a["replay"]["x"], b["replay"]["x"])


def test_a_resumed_run_equals_an_uninterrupted_one(robot, tracker, tmp_path):
    """The second iteration is the first in which the expert acts in some envs only."""
    settings = (STEADY, "agent.expert_iterations=3", "agent.kl_ramp=3")
    whole = train(tmp_path, "whole", robot.name, "--max-iterations", 2, *settings, expert=tracker)
    train(tmp_path, "parts", robot.name, "--max-iterations", 1, *settings, expert=tracker)
    parts = train(tmp_path, "parts", robot.name, "--max-iterations", 2, *settings, expert=tracker)
    assert load(parts).iteration == load(whole).iteration == 2
    assert same(load(parts), load(whole))
    rows = metrics(whole)
    assert all(row["actor/anchor_kl"] > 0.0 and row["actor/kl_loss"] > 0.0 for row in rows)
    assert all(0.0 <= row["actor/prior_survival"] <= 1.0 for row in rows)
    weights = [row["actor/kl_coefficient"] for row in rows]
    assert weights == pytest.approx([0.001, 0.004], rel=1e-4)


def test_without_an_expert_it_learns_from_the_reward_alone(robot, tmp_path):
    whole = train(tmp_path, "whole", robot.name, "--max-iterations", 2, STEADY)
    train(tmp_path, "parts", robot.name, "--max-iterations", 1, STEADY)
    assert same(load(train(tmp_path, "parts", robot.name, "--max-iterations", 2, STEADY)), load(whole))
    assert "actor/anchor_kl" not in metrics(whole)[-1]
    before, after = (load(whole).training["trainer"]["actor"], load_policy(whole).policy.actor.state_dict())
    assert any(not torch.equal(x, after[name]) for name, x in before.items())  # the average is saved
    assert all(x.isfinite().all() for x in before.values())


def test_the_trained_policy_is_evaluated_like_any_other(robot, tracker, tmp_path):
    run = train(tmp_path, "a", robot.name, "--max-iterations", 1)
    saved = load(run)
    assert saved.kind == "masked_mimic"
    imitation = ["--robot", robot.name, "run.max_iterations=1", f"agent.expert_model_path={tracker}"]
    imitated = train_tiny("masked_mimic/path_follower", tmp_path, "b", *imitation)
    assert {n: x.shape for n, x in saved.model.items()} == {n: x.shape for n, x in load(imitated).model.items()}
    words = ["--num-episodes", 2, "--num-envs", 2, "--simulator", "mujoco", "--output", tmp_path / "out"]
    result = protege("evaluate", "--checkpoint", run, *words)
    assert result.exit_code == 0, result.output
    tasks = json.loads((tmp_path / "out" / "evaluation.json").read_text())["tasks"]
    assert "masked_mimic" in tasks


def test_it_reuses_a_trackers_world_model(robot, tmp_path):
    """It also loads the weights of a checkpoint, but not its critic, which may have learned another reward."""
    small = ["--robot", robot.name, *ENVS, *MODEL, "model.mlp_units=[16]", "model.critic_units=[16]"]
    where = ["--results-dir", tmp_path, "--experiment-name", "tracker", "--max-iterations", 1]
    assert protege("core", "train", "full_body_tracker/world_model", *where, *small).exit_code == 0
    still = [
        "agent.model_updates=1",
        "agent.model_learning_rate=0",
        "agent.model_muon_rate=0",
        f"agent.world_model_path={tmp_path / 'tracker'}",
    ]
    words = ["--algorithm", "world_model", "--max-iterations", 1, *still]
    run = train(tmp_path, "a", robot.name, *words, expert=tmp_path / "tracker", preset="masked_mimic/laptop")
    fitted, taken = (load(x).training["trainer"]["model"] for x in (tmp_path / "tracker", run))
    assert all(torch.equal(fitted[name], x) for name, x in taken.items())
    still = ["agent.learning_rate=0", "agent.critic_learning_rate=0"]
    train(tmp_path, "b", robot.name, "--checkpoint", run, "--max-iterations", 1, *still)
    mine = load_policy(tmp_path / "b").policy.actor.state_dict()
    assert all(torch.allclose(load_policy(run).policy.actor.state_dict()[name], x) for name, x in mine.items())
    critics = [load(tmp_path / name).model["critic.net.rest.0.weight"] for name in ("a", "b")]
    assert not torch.allclose(*critics)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["agent.prior_fraction=1.5"], "agent.prior_fraction is 1.5"),
        (["agent.horizon=0"], "agent.horizon is 0"),
        (["agent.latent_dim=15"], "agent.latent_dim must be a multiple of agent.num_heads"),
        (["agent.expert_model_path=nowhere"], "agent.expert_model_path: no checkpoint at nowhere"),
    ],
)
def test_an_invalid_training_is_one_error_line(words, message, tmp_path):
    result = protege("core", "train", PRESET, "--results-dir", tmp_path, "--experiment-name", "a", *TINY, *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
