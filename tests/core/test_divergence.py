"""When a training is stopped because nothing good will come of it."""

from math import inf, nan
from pathlib import Path

import pytest
import torch
from toy_env import ToyEnv

from protege.core.errors import UserError
from protege.core.learning import ppo
from protege.core.learning.divergence import DivergenceMonitor
from protege.core.learning.learner import Learner
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
    ("bad", "said"),
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
def test_three_bad_iterations_in_a_row(bad, said):
    watch = DivergenceMonitor(updates=4)
    assert [watch.see(GOOD | row) for row in (bad, bad, {}, bad, bad)] == [""] * 5
    assert watch.bad_iterations == 2
    assert watch.see(GOOD | bad) == f"{said}; 3 bad iterations in a row"


class BreaksLater(ToyEnv):
    """All envs break after `good` steps, as physics does under wild actions."""

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


def test_the_last_good_checkpoint_stays(tmp_path, monkeypatch):
    env = ToyEnv(4)
    run, policy, agent = begin(tmp_path, env, max_iterations=20, checkpoint_interval=1)
    broken = iter([1.0, 1.0, 1.0, 1.0] + [torch.nan] * 100)
    true_loss = ppo.ppo_loss
    monkeypatch.setattr(ppo, "ppo_loss", lambda *args: true_loss(*args) * next(broken))
    said = r"diverged in iteration 4: agent/skipped_updates was 2 of 2 .*--checkpoint .*last.ckpt .*agent.learning_rate"
    with pytest.raises(UserError, match=said), run:
        train_loop(run, env, Learner(PPO(policy, agent), env.reset()))
    saved = load(run.folder / "last.ckpt")
    assert saved.iteration == 2
    assert all(x.isfinite().all() for x in saved.model.values())


def test_worlds_that_all_break_do_not_change_the_policy(tmp_path):
    env = BreaksLater(8)
    run, policy, agent = begin(tmp_path, env, max_iterations=4)
    with run:
        train_loop(run, env, Learner(PPO(policy, agent), env.reset()))
    assert all(x.isfinite().all() for x in policy.state_dict().values())


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    run, policy, _ = begin(tmp_path, ToyEnv(4), max_iterations=4, checkpoint_interval=2)
    with pytest.raises(UserError, match="diverged in iteration 4: weights are NaN or infinite"), run:  # noqa: PT012
        run.restore({"policy": policy})
        for iteration in run:
            if iteration == 2:
                next(policy.parameters()).data[0] = torch.inf
    assert load(run.folder).iteration == 2
