"""PPO: loss terms by hand, guarded optimizer steps, and learning the toy robot."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from toy_env import NanEnv, ToyEnv

from protege.core.learning.learner import Learner
from protege.core.learning.optim import adamw, adapt_learning_rate, backward, guarded_step
from protege.core.learning.policy import ModelConfig
from protege.core.learning.ppo import (
    PPO,
    PPOConfig,
    bounds_loss,
    normalize_advantage,
    ppo_loss,
    value_loss,
    weighted_mean,
)
from protege.core.runs.load_policy import make_actor_critic

SMALL = ModelConfig(latent_dim=16, ff_size=16, num_layers=1, num_heads=2, mlp_units=[16], critic_units=[16])


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


# Loss terms --------------------------------------------------------------------------------------------------------------


def test_clipped_surrogate_by_hand():
    # ratios 2, 0.5, 2, 0.5 with advantages 1, 1, -1, -1 and clip 0.2:
    # min(2, 1.2) = 1.2, min(0.5, 0.8) = 0.5, min(-2, -1.2) = -2, min(-0.5, -0.8) = -0.8
    ratio, advantage = t(2.0, 0.5, 2.0, 0.5), t(1.0, 1.0, -1.0, -1.0)
    loss = ppo_loss(ratio.log(), t(0, 0, 0, 0), advantage, 0.2)
    assert loss.item() == pytest.approx(-(1.2 + 0.5 - 2.0 - 0.8) / 4.0)


def test_the_surrogate_has_no_gradient_where_it_is_clipped():
    new = t(math.log(2.0), math.log(1.1)).requires_grad_()
    ppo_loss(new, t(0, 0), t(1.0, 1.0), 0.2).backward()
    assert new.grad is not None
    assert new.grad[0].item() == 0.0
    assert new.grad[1].item() == pytest.approx(-1.1 / 2.0)  # d(-ratio)/d log = -ratio, mean of two


def test_the_dual_clip_limits_the_loss_of_bad_actions():
    ratio = t(2.0, 5.0, 5.0)
    log_ratio = ratio.log().requires_grad_()
    loss = ppo_loss(log_ratio, t(0, 0, 0), t(-1.0, -1.0, 1.0), 0.2, dual_clip=3.0)
    # -2 counts in full, -5 as -3, and the gain of 5 as one of 1.2.
    assert loss.item() == pytest.approx((2.0 + 3.0 - 1.2) / 3)
    loss.backward()
    assert log_ratio.grad.tolist() == pytest.approx([2.0 / 3, 0.0, 0.0])


def test_value_loss_by_hand():
    assert value_loss(t(1.0, 3.0), t(2.0, 1.0)).item() == pytest.approx((1.0 + 4.0) / 2.0)
    # Old values 0, 0 and clip 0.5 hold the values at 0.5, 0.5; the worse of the two errors counts: max(1, 2.25), max(4, 0.25).
    assert value_loss(t(1.0, 3.0), t(2.0, 1.0), None, t(0, 0), 0.5).item() == pytest.approx((2.25 + 4.0) / 2.0)


def test_bounds_loss_by_hand():
    mean, bound = torch.tensor([[0.5, -1.5], [2.0, 0.0]]), t(1.0, 1.0)
    # Excess: (0, 0.5) and (1, 0): squared and summed 0.25 and 1.
    assert bounds_loss(mean, bound).item() == pytest.approx(0.625)
    assert bounds_loss(mean, bound, t(1.0, 0.0)).item() == pytest.approx(0.25)


def test_rows_without_weight_are_ignored_even_if_nan():
    x, weight = t(1.0, math.nan, 3.0), t(1.0, 0.0, 1.0)
    assert weighted_mean(x, weight).item() == 2.0
    assert weighted_mean(x, t(0, 0, 0)).item() == 0.0
    assert ppo_loss(t(0, math.nan, 0), t(0, 0, 0), t(1, 1, 3), 0.2, weight).item() == -2.0


def test_advantages_are_normalised_over_weighted_rows():
    # Mean 2, deviation 1 over the first two; the third is left out.
    out = normalize_advantage(t(1.0, 3.0, 100.0), t(1.0, 1.0, 0.0))
    torch.testing.assert_close(out, t(-1.0, 1.0, 0.0))


# Optimiser ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kl", "factor"), [(0.03, 1 / 1.5), (0.0144, 1 / 1.2), (0.01, 1.0), (0.0064, 1.25), (0.0, 1.5), (math.nan, 1.0)]
)
def test_the_learning_rate_follows_the_kl(kl, factor):
    lr = torch.tensor(1e-3)
    adapt_learning_rate(lr, torch.tensor(kl), 0.01, 1e-6, 1e-1)
    assert lr.item() == pytest.approx(1e-3 * factor)


def test_the_learning_rate_stays_within_its_limits():
    lr = torch.tensor(1e-3)
    adapt_learning_rate(lr, torch.tensor(9.0), 0.01, 9e-4, 1e-3)
    assert lr.item() == pytest.approx(9e-4)
    adapt_learning_rate(lr, torch.tensor(1e-5), 0.01, 9e-4, 1e-3)
    assert lr.item() == pytest.approx(1e-3)


def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted():
    layer = nn.Linear(2, 1)
    optimizer = adamw([(layer.parameters(), 0.1)])
    backward(layer(torch.ones(1, 2)).sum(), optimizer)
    assert guarded_step(optimizer, 1.0) == 0.0
    weights, moments = layer.weight.clone(), optimizer.state[layer.weight]["exp_avg"].clone()
    backward(layer(torch.full((1, 2), math.inf)).sum(), optimizer)
    assert guarded_step(optimizer, 1.0) == 1.0
    assert torch.equal(layer.weight, weights)
    assert torch.equal(optimizer.state[layer.weight]["exp_avg"], moments)
    backward(layer(torch.ones(1, 2)).sum(), optimizer)
    assert guarded_step(optimizer, 1.0) == 0.0
    assert not torch.equal(layer.weight, weights)


# Training ----------------------------------------------------------------------------------------------------------------


def make(env: ToyEnv, **changes) -> Learner:
    torch.manual_seed(0)
    model = replace(SMALL, log_std=-2.0)
    policy = make_actor_critic(env, model)
    config = PPOConfig(rollout_steps=8, minibatches=2, epochs=2, **changes)
    return Learner(PPO(policy, config), env.reset(), seed=1)


def parameters(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: x.clone() for name, x in learner.algorithm.policy.named_parameters()}


@pytest.mark.parametrize(("progress", "times"), [(0.0, 4.0), (0.25, 2.0), (0.5, 1.0), (0.9, 1.0)])
def test_exploration_decays_to_the_policys_own_deviation(progress, times):
    env = ToyEnv(2)
    learner = make(env, exploration=4.0, exploration_share=0.5)
    for at in (0.0, progress):  # what was set before does not matter
        learner.algorithm.begin(env, 0, at, learner.generator)
    std = learner.algorithm.policy.log_std.exp()
    torch.testing.assert_close(std, torch.full_like(std, times * math.exp(-2.0)))


def test_the_first_minibatch_starts_from_the_policy_that_acted():
    env = ToyEnv(8)
    learner = make(env, learning_rate=1e-9, min_learning_rate=0.0, critic_learning_rate=1e-9, desired_kl=0.0)
    learner.collect(env, 0, 0.0)
    metrics = learner.update()
    assert metrics["actor/kl"] == pytest.approx(0.0, abs=1e-6)
    # Ratio 1 throughout: minus the mean of the normalised advantages, which is zero.
    assert metrics["actor/ppo_loss"] == pytest.approx(0.0, abs=1e-5)
    assert metrics["agent/skipped_updates"] == 0.0


@pytest.mark.parametrize("kind", [ToyEnv, NanEnv])
def test_broken_envs_do_not_change_the_update(kind):
    env = kind(8, broken=[2, 5])
    learner = make(env)
    before, policy = parameters(learner), learner.algorithm.policy
    learner.collect(env, 0, 0.0)
    metrics = learner.update()
    assert metrics["agent/invalid_fraction"] == pytest.approx(0.25)
    assert metrics["agent/skipped_updates"] == 0.0
    assert all(math.isfinite(value) for value in metrics.values())
    assert all(x.isfinite().all() for x in policy.state_dict().values())
    assert any(not torch.equal(x, before[name]) for name, x in policy.named_parameters())


def test_a_rollout_without_a_valid_transition_changes_nothing():
    env = NanEnv(8, broken=list(range(8)))
    learner = make(env)
    before = parameters(learner)
    learner.collect(env, 0, 0.0)
    learner.update()
    assert all(torch.equal(x, before[name]) for name, x in parameters(learner).items())


def test_it_learns_the_toy_robot():
    env = ToyEnv(64)
    learner, rewards = make(env, learning_rate=1e-3, critic_learning_rate=2e-3, desired_kl=0.03), []
    for iteration in range(60):
        learner.collect(env, iteration, 0.0)
        rewards.append(learner.buffer.data["reward"].mean().item())
        learner.update()
    first, last = sum(rewards[:5]) / 5.0, sum(rewards[-5:]) / 5.0
    assert 1.0 - last < 0.5 * (1.0 - first)
