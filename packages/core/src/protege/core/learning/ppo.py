"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) with a KL-adaptive learning rate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from .. import checks
from ..env import Env, Obs
from .learner import Algorithm, Terms
from .optim import adamw, adapt_learning_rate, rate_share
from .policy import ActorCritic, kl_divergence, log_prob
from .process_group import SINGLE_PROCESS, ProcessGroup
from .rollout import RolloutBuffer, discount


@dataclass
class PPOConfig:
    """Hyperparameters of PPO.

    Attributes:
        rollout_steps: control steps of each env per iteration.
        epochs: passes over a rollout.
        minibatches: minibatches per pass over a rollout.
        learning_rate: of the actor at the start.
        min_learning_rate: lower limit of the adapted rate.
        max_learning_rate: upper limit of the adapted rate.
        desired_kl: target of the KL divergence per iteration, averaged over the minibatches, nats. The actor's rate is adapted to
            it after every rollout; 0 keeps the rate.
        critic_learning_rate: fixed.
        gamma: discount per control step; by default the same per second at every control rate: 0.97 at 30 Hz, 0.982 at 50 Hz.
        lam: lambda of generalised advantage estimation.
        clip: largest deviation of the probability ratio from 1.
        value_clip: largest change of a value, in standard deviations of the returns; 0 for no limit.
        value_weight: of the value loss.
        bounds_loss_weight: of the penalty on actions outside the robot's range.
        max_grad_norm: of actor and critic each.
        exploration: factor on the policy's standard deviation at the start; decays exponentially to 1.
        exploration_share: share of the run's budget over which it decays.
        expert_model_path: checkpoint or run folder to start from; empty for none.
    """

    rollout_steps: int = 24
    epochs: int = 3
    minibatches: int = 4
    learning_rate: float = 5e-5
    min_learning_rate: float = 1e-6
    max_learning_rate: float = 1e-3
    desired_kl: float = 0.01
    critic_learning_rate: float = 5e-4
    gamma: float | None = None
    lam: float = 0.95
    clip: float = 0.2
    value_clip: float = 0.0
    value_weight: float = 1.0
    bounds_loss_weight: float = 1.0
    max_grad_norm: float = 1.0
    exploration: float = 1.0
    exploration_share: float = 0.45
    expert_model_path: str = ""

    @property
    def updates(self) -> int:
        """Optimizer steps per iteration."""
        return self.epochs * self.minibatches

    def check(self, key: str) -> None:
        checks.within(1, 10_000, self, key, "rollout_steps", "epochs")
        checks.at_least(1, self, key, "minibatches")
        checks.within(0, 10, self, key, "learning_rate", "min_learning_rate", "max_learning_rate")
        checks.within(0, 10, self, key, "critic_learning_rate")
        checks.at_least(0, self, key, "desired_kl")
        checks.at_least(0, self, key, "value_clip", "value_weight", "bounds_loss_weight")
        checks.rising(self, key, "min_learning_rate", "max_learning_rate")
        checks.above_zero(self, key, "clip", "max_grad_norm", "exploration", "exploration_share")
        checks.shares(self, key, "gamma", "lam", "exploration_share")


def weighted_mean(x: Tensor, weight: Tensor | None = None, group: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """Mean of weight · x over the rows with a positive weight, over all ranks: (M,), (M,) -> (); 0 if there are none.

    Weights are not normalised: twice the weight gives twice the gradient. Rows of weight 0 do not affect the mean. They must not be
    NaN, which would reach the gradient; `RolloutBuffer.minibatches` ensures this.
    """
    if weight is None:
        return group.mean(x.mean())
    counts = weight > 0
    total = group.sum(torch.stack([torch.where(counts, weight * x, 0.0).sum(), counts.sum()]))
    return total[0] / total[1].clamp_min(1.0)


def ppo_loss(
    new_log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    clip: float,
    weight: Tensor | None = None,
    dual_clip: float = 0.0,
) -> Tensor:
    """Clipped surrogate loss: (M,) each -> ().

    Args:
        dual_clip: if above 0, largest probability ratio at which an action with negative advantage has a gradient (Ye et al. 2020,
            arXiv 1912.09729, equation 5). PPO alone does not reach it, but PPO with another loss does.
    """
    ratio = (new_log_prob - old_log_prob).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)
    if dual_clip > 0.0:
        gain = torch.where(advantage < 0.0, torch.maximum(gain, dual_clip * advantage), gain)
    return weighted_mean(-gain, weight)


def value_loss(
    value: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    old_value: Tensor | None = None,
    clip: float = 0.0,
) -> Tensor:
    """Mean squared error of values, (M,) each -> (). With `clip` > 0, the larger of it and of the error of the clipped value."""
    error = (value - target).square()
    if clip > 0.0 and old_value is not None:
        clipped = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - target).square())
    return weighted_mean(error, weight)


def bounds_loss(mean: Tensor, bound: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared excess of |mean| over the bound, summed over joints, averaged over rows: (M, J), (J,) rad -> ()."""
    return weighted_mean((mean.abs() - bound).clamp_min(0.0).square().sum(-1), weight)


def normalize_advantage(advantage: Tensor, weight: Tensor, group: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """Normalise to mean 0 and standard deviation 1 over the entries with weight 1 of all ranks; 0 elsewhere. Any shape."""
    mean = weighted_mean(advantage, weight, group)
    std = weighted_mean((advantage - mean).square(), weight, group).sqrt()
    return torch.where(weight > 0, (advantage - mean) / (std + 1e-8), 0.0)


class PPO(Algorithm[ActorCritic]):
    """Proximal policy optimisation of an actor-critic.

    Attributes:
        gamma: discount per control step; `begin` computes it for the env's control rate.

    Args:
        policy: already on its device.
        config: see PPOConfig.
    """

    gamma: float
    inputs = ("action", "log_prob", "mean", "std", "advantage", "return", "value")

    def __init__(self, policy: ActorCritic, config: PPOConfig) -> None:
        actor = (policy.actor.parameters(), config.learning_rate)
        critic = (policy.critic.parameters(), config.critic_learning_rate)
        super().__init__(policy, config, adamw([actor, critic]))
        self.log_std = policy.log_std.clone()

    def begin(self, env: Env, iteration: int, progress: float, generator: torch.Generator) -> dict[str, float]:
        """Set the discount and the actions' standard deviation; see `PPOConfig.exploration`."""
        self.gamma = discount(self.config.gamma, env.robot.control_dt)
        left = max(0.0, 1.0 - progress / self.config.exploration_share)
        self.policy.log_std.copy_(self.log_std + left * log(self.config.exploration))
        return {"agent/action_std": self.policy.log_std.exp().mean().item()}

    def prepare(self, buffer: RolloutBuffer, group: ProcessGroup) -> list[Tensor]:
        data = buffer.data
        buffer.compute_returns(self.gamma, self.config.lam)
        data["advantage"].copy_(normalize_advantage(data["advantage"], buffer.weight, group))
        return [data["return"]]

    def loss_terms(self, obs: Obs, batch: Mapping[str, Tensor], generator: torch.Generator) -> Terms:
        cfg, policy, weight = self.config, self.policy, batch["weight"]
        mean, std, value = policy(obs)
        new_log_prob, scale = log_prob(batch["action"], mean, std), policy.critic.scale
        surrogate = ppo_loss(new_log_prob, batch["log_prob"], batch["advantage"], cfg.clip, weight)
        bounds = bounds_loss(mean, policy.action_bound, weight)
        critic = value_loss(value / scale, batch["return"] / scale, weight, batch["value"] / scale, cfg.value_clip)
        with torch.no_grad():
            kl = weighted_mean(kl_divergence(batch["mean"], batch["std"], mean, std), weight)
        return {
            "actor/ppo_loss": (1.0, surrogate),
            "actor/bounds_loss": (cfg.bounds_loss_weight, bounds),
            "critic/value_loss": (cfg.value_weight, critic),
            "actor/kl": (0.0, kl),
        }

    def after_update(self, history: Sequence[Mapping[str, Tensor]], group: ProcessGroup) -> dict[str, float]:
        """Adapt the actor's learning rate to the KL divergence of the update; see `PPOConfig.desired_kl`."""
        cfg = self.config
        if cfg.desired_kl > 0.0:
            kl = group.mean(torch.stack([terms["actor/kl"] for terms in history]).nanmean())
            rate, share = self.optimizer.param_groups[0]["lr"], rate_share(self.optimizer)
            limits = share * cfg.min_learning_rate, share * cfg.max_learning_rate
            adapt_learning_rate(rate, kl, cfg.desired_kl, *limits)
        return {}
