"""The learner: its state, and its use by algorithms."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from toy_env import ToyEnv

from protege.core.learning.learner import Learner
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import PPO, PPOConfig, weighted_mean
from protege.core.runs.load_policy import make_actor_critic

MODEL = ModelConfig("mlp", mlp_units=[16], critic_units=[16])
SMALL = {"rollout_steps": 8, "minibatches": 2, "epochs": 2}


def make(algorithm: type[PPO], config: PPOConfig) -> tuple[ToyEnv, Learner]:
    torch.manual_seed(0)
    env = ToyEnv(8)
    return env, Learner(algorithm(make_actor_critic(env, MODEL), config), env.reset(), seed=1)


# A loss term needs a function, a weight in the config and a line in the algorithm: here all in one file.


def effort_loss(mean: Tensor, weight: Tensor) -> Tensor:
    """Mean square of the action, rad²."""
    return weighted_mean(mean.square().mean(-1), weight)


@dataclass
class EffortConfig(PPOConfig):
    effort_weight: float = 0.0


class EffortPPO(PPO):
    def loss_terms(self, obs, batch, generator):
        mean, _ = self.policy.distribution(obs)
        effort = effort_loss(mean, batch["weight"])
        return super().loss_terms(obs, batch, generator) | {"actor/effort_loss": (self.config.effort_weight, effort)}


def test_a_new_loss_term_is_trained_on_and_logged():
    efforts = {}
    for weight in (0.0, 100.0):
        env, learner = make(EffortPPO, EffortConfig(effort_weight=weight, learning_rate=3e-3, desired_kl=0.0, **SMALL))
        for iteration in range(10):
            learner.collect(env, iteration, 0.0)
            metrics = learner.update()
        efforts[weight] = metrics["actor/effort_loss"]
    assert efforts[100.0] < 0.5 * efforts[0.0]


def test_a_term_of_weight_zero_is_only_reported():
    weights = []
    for algorithm, config in ((PPO, PPOConfig(**SMALL)), (EffortPPO, EffortConfig(effort_weight=0.0, **SMALL))):
        env, learner = make(algorithm, config)
        learner.collect(env, 0, 0.0)
        metrics = learner.update()
        weights.append(torch.cat([x.flatten() for x in learner.algorithm.policy.parameters()]))
    assert metrics["actor/effort_loss"] > 0.0
    assert torch.equal(*weights)


class Off(PPO):
    def loss_terms(self, obs, batch, generator):
        terms = super().loss_terms(obs, batch, generator)
        return {name: (0.0, term * torch.nan) for name, (_, term) in terms.items()}


def test_a_loss_without_terms_changes_nothing():
    env, learner = make(Off, PPOConfig(desired_kl=0.0, **SMALL))
    before = {name: x.clone() for name, x in learner.algorithm.policy.named_parameters()}
    learner.collect(env, 0, 0.0)
    metrics = learner.update()
    assert all(torch.equal(x, before[name]) for name, x in learner.algorithm.policy.named_parameters())
    assert metrics["agent/skipped_updates"] == 0.0
    assert "actor/ppo_loss" not in metrics  # NaN in every minibatch


def test_a_callback_is_called_after_every_step():
    env, learner = make(PPO, PPOConfig(**SMALL))
    learner.collect(env, 0, 0.0)
    steps: list[int] = []
    learner.update(lambda: steps.append(len(steps)))
    assert steps == [0, 1, 2, 3]


def test_a_learner_resumes_exactly():
    _, learner = make(PPO, PPOConfig(**SMALL))
    saved = learner.state_dict()
    expected = torch.rand(3, generator=learner.generator)
    _, other = make(PPO, PPOConfig(**SMALL))
    other.obs = {name: torch.zeros_like(x) for name, x in other.obs.items()}
    other.generator.manual_seed(5)
    other.load_state_dict(saved)
    assert all(torch.equal(x, saved["obs"][name]) for name, x in other.obs.items())
    assert torch.equal(torch.rand(3, generator=other.generator), expected)


@pytest.mark.parametrize(("changes", "expected"), [({"bounds_loss_weight": 0.0}, True), ({"value_weight": 0.0}, False)])
def test_a_parameter_that_no_term_reaches_has_gradient_zero(changes, expected):
    env, learner = make(PPO, PPOConfig(**SMALL, **changes))
    policy = learner.algorithm.policy
    before = [x.clone() for x in policy.critic.parameters()]
    learner.collect(env, 0, 0.0)
    assert learner.update()["agent/skipped_updates"] == 0.0
    moved = any(not torch.equal(x, y) for x, y in zip(policy.critic.parameters(), before, strict=True))
    assert moved == expected
