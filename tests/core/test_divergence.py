"""Divergence: when a training falls back to its last good checkpoint, and when it is stopped."""

import json
from math import inf, nan
from pathlib import Path

import pytest
import torch
from toy_env import ToyEnv

from protege.core.errors import UserError
from protege.core.learning import ppo
from protege.core.learning.divergence import DivergenceMonitor
from protege.core.learning.learner import Learner
from protege.core.learning.optim import rate_share, set_learning_rate
from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig
from protege.core.runs.checkpoint import load
from protege.core.runs.config import Config, RunConfig
from protege.core.runs.load_policy import make_actor_critic
from protege.core.runs.loop import train_loop
from protege.core.runs.run import Run

GOOD = {"actor/ppo_loss": 0.1, "actor/kl": 0.01, "agent/skipped_updates": 1.0, "episode/return": nan}
MODEL = ModelConfig("mlp", mlp_units=[16], critic_units=[16])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"agent/skipped_updates": 4.0}, "agent/skipped_updates was 4 of 4 (no finite gradient)"),
        ({"critic/value_loss": inf}, "critic/value_loss was inf"),
        ({"actor/ppo_loss": nan}, "actor/ppo_loss was nan"),
        ({"actor/kl": 1e6}, "actor/kl was 1e+06 nats, above 50"),
        ({"model/loss": nan}, "model/loss was nan"),
        (
            {"model/open_loop_error": 0.7, "model/constant_velocity_error": 0.3},
            "model/open_loop_error was 0.7 m, constant velocities are only 0.3 m off",
        ),
    ],
)
def test_three_consecutive_bad_iterations_are_a_divergence(bad, message):
    watch = DivergenceMonitor(updates=4)
    assert [watch.update(GOOD | row) for row in (bad, bad, {}, bad, bad)] == [""] * 5
    assert watch.bad_iterations == 2
    assert watch.update(GOOD | bad) == f"{message}; 3 bad iterations in a row"


class BreaksLater(ToyEnv):
    """All envs break after `good` steps, as physics does with extreme actions."""

    def __init__(self, good: int) -> None:
        super().__init__(4)
        self.good = good

    def step(self, action: torch.Tensor):
        self.good -= 1
        self.broken[:] = self.good < 0
        return super().step(action)


def begin(folder: Path, env: ToyEnv, **settings) -> tuple[Run, ActorCritic, PPOConfig]:
    agent = PPOConfig(rollout_steps=4, epochs=1, minibatches=2)
    config = Config({"run": RunConfig("a", results_dir=str(folder), **settings), "model": MODEL, "agent": agent})
    return Run(config, "tracker", env.robot, env.obs_shapes), make_actor_critic(env, MODEL), agent


def test_the_last_good_checkpoint_is_not_overwritten(tmp_path, monkeypatch):
    env = ToyEnv(4)
    run, policy, agent = begin(tmp_path, env, max_iterations=20, checkpoint_interval=1)
    broken = iter([1.0, 1.0, 1.0, 1.0] + [torch.nan] * 100)
    true_loss = ppo.ppo_loss
    monkeypatch.setattr(ppo, "ppo_loss", lambda *args: true_loss(*args) * next(broken))
    message = (
        r"diverged in iteration 4: agent/skipped_updates was 2 of 2 .*--checkpoint .*last.ckpt .*agent.learning_rate"
    )
    with pytest.raises(UserError, match=message), run:
        train_loop(run, env, Learner(PPO(policy, agent), env.reset()))
    saved = load(run.folder / "last.ckpt")
    assert saved.iteration == 2
    assert all(x.isfinite().all() for x in saved.model.values())


def test_a_diverged_run_continues_from_its_last_good_checkpoint(tmp_path, monkeypatch, capsys):
    """Minibatches 4 to 9 are broken, two per iteration: iterations 2, 3 and 4 are bad, and are repeated with half the rates."""
    env = ToyEnv(4)
    run, policy, agent = begin(tmp_path, env, max_iterations=6, checkpoint_interval=1)
    agent.desired_kl = 0.0  # rates stay as they are
    broken = iter([1.0] * 4 + [torch.nan] * 6 + [1.0] * 100)
    true_loss, seen = ppo.ppo_loss, []
    monkeypatch.setattr(ppo, "ppo_loss", lambda *args: true_loss(*args) * next(broken))
    learner, restored = Learner(PPO(policy, agent), env.reset()), env.load_state_dict
    monkeypatch.setattr(env, "load_state_dict", lambda state: seen.append(state["state"]["step"]) or restored(state))
    with run:
        train_loop(run, env, learner)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(6))
    assert [row.get("agent/falls") for row in rows] == [None, None, 1.0, 1.0, 1.0, 1.0]
    rates = [row["learning_rate"] for row in rows]
    assert rates == pytest.approx([agent.learning_rate] * 2 + [agent.learning_rate / 2] * 4)
    assert len(seen) == 1, "the env goes on from there, too"
    output = " ".join(capsys.readouterr().err.split())
    assert "diverged in iteration 4: agent/skipped_updates was 2 of 2" in output
    assert "last.ckpt (iteration 2) with half the learning rates; fall 1 of 3" in output
    saved = load(run.folder)
    assert (saved.iteration, saved.training["falls"], saved.samples) == (6, 1, 6 * 4 * 4)
    again, policy, agent = begin(tmp_path, env, max_iterations=7, checkpoint_interval=1)
    agent.desired_kl = 0.0
    with again:
        train_loop(again, env, Learner(PPO(policy, agent), env.reset()))
    last = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["iteration"], last["agent/falls"]) == (6, 1.0), "a run that goes on later has not forgotten"


def test_falling_back_loads_the_whole_checkpoint(tmp_path, monkeypatch):
    """Weights, moments and random state are the checkpoint's; learning rates are lower from then on."""
    env = ToyEnv(4)
    run, policy, agent = begin(tmp_path, env, max_iterations=4, checkpoint_interval=2)
    learner, loaded = Learner(PPO(policy, agent), env.reset()), []
    watch, real, optimizer = iter(["", "", "broken"] + [""] * 9), run._load, learner.optimizers["optimizer"]

    def load_and_look(saved, path):
        real(saved, path)
        moments, was = optimizer.state_dict()["state"], saved.training["optimizer"]["state"]
        assert all(torch.equal(x["exp_avg"], was[i]["exp_avg"]) for i, x in moments.items())
        assert all(torch.equal(x, saved.model[name]) for name, x in policy.state_dict().items())
        assert torch.equal(learner.generator.get_state(), saved.training["trainer"]["generator"])
        loaded.append(run.iteration)

    monkeypatch.setattr(run, "_load", load_and_look)
    monkeypatch.setattr(run._divergence, "update", lambda metrics: next(watch))
    with run:
        train_loop(run, env, learner)
    assert loaded == [2] and run.iteration == 4
    assert rate_share(optimizer) == 0.5
    set_learning_rate(optimizer, 0.2, 0.4)
    assert [group["lr"].item() for group in optimizer.param_groups] == pytest.approx([0.1, 0.2])


def test_rollouts_of_only_broken_envs_do_not_change_the_policy(tmp_path):
    env = BreaksLater(8)
    run, policy, agent = begin(tmp_path, env, max_iterations=4)
    with run:
        train_loop(run, env, Learner(PPO(policy, agent), env.reset()))
    assert all(x.isfinite().all() for x in policy.state_dict().values())


def test_nonfinite_weights_are_not_saved(tmp_path):
    """Before the first checkpoint there is nothing to fall back to."""
    run, policy, _ = begin(tmp_path, ToyEnv(4), max_iterations=4, checkpoint_interval=2)
    message = r"diverged in iteration 2: weights are NaN or infinite\. Try again from scratch"
    with pytest.raises(UserError, match=message), run:  # noqa: PT012
        run.restore({"policy": policy})
        for iteration in run:
            if iteration == 1:
                next(policy.parameters()).data[0] = torch.inf
    assert not (run.folder / "last.ckpt").exists()


@pytest.mark.parametrize("times", [1, 4])
def test_nonfinite_weights_cause_a_fall_back(times, tmp_path):
    """Weights break in iteration 2, which is detected at the next checkpoint, the run's last. The fourth time ends the run."""
    run, policy, _ = begin(tmp_path, ToyEnv(4), max_iterations=4, checkpoint_interval=2)
    broken = []

    def drive() -> None:
        with run:
            run.restore({"policy": policy})
            for iteration in run:
                if iteration == 2 and len(broken) < times:
                    broken.append(iteration)
                    next(policy.parameters()).data[0] = torch.inf

    if times > 3:
        with pytest.raises(UserError, match="diverged in iteration 4: weights are NaN or infinite"):
            drive()
    else:
        drive()
    saved = load(run.folder)
    assert (saved.iteration, saved.finished) == ((4, True) if times == 1 else (2, False))
    assert all(x.isfinite().all() for x in saved.model.values()) and len(broken) == times
