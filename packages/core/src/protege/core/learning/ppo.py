"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347) with a KL-adaptive learning rate."""

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .. import checks
from ..env import Env, Obs
from .cuda_graph import Recorded
from .optim import adamw, adapt_learning_rate, backward, guarded_step
from .policy import ActorCritic, kl_divergence, log_prob
from .process_group import ALONE, World
from .rollout import LoopState, RolloutBuffer, collect, episode_metrics

if TYPE_CHECKING:
    from ..runs.run import Run


@dataclass
class PPOConfig:
    """How a policy is trained.

    Attributes:
        rollout_steps: control steps of every world between updates.
        epochs: passes over a rollout.
        minibatches: parts of a pass.
        learning_rate: of the actor at the start.
        min_learning_rate: lower end of the adapted rate.
        max_learning_rate: upper end of the adapted rate.
        desired_kl: the actor's rate is adapted after every rollout so that the policy is moved by about this on average over
            the minibatches, nats; 0 keeps the rate.
        critic_learning_rate: fixed.
        gamma: discount a step.
        lam: trace of generalised advantage estimation.
        clip: how far the probability ratio may go from 1.
        value_clip: how far a value may go from its old one, in standard deviations of the returns; 0 is no limit.
        value_weight: of the value loss.
        bounds_loss_weight: of what actions exceed the robot's range by.
        max_grad_norm: of actor and critic each.
        exploration: the policy's standard deviation is so many times larger at first, and falls exponentially to its own.
        exploration_share: share of the run's budget after which it is down to its own.
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
    gamma: float = 0.97
    lam: float = 0.95
    clip: float = 0.2
    value_clip: float = 0.0
    value_weight: float = 1.0
    bounds_loss_weight: float = 1.0
    max_grad_norm: float = 1.0
    exploration: float = 1.0
    exploration_share: float = 0.45
    expert_model_path: str = ""

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


def weighted_mean(x: Tensor, weight: Tensor | None = None, world: World = ALONE) -> Tensor:
    """Mean of (M,) over the rows with weight 1 of all of a world's ranks, 0 if there are none.

    What the other rows hold does not reach the mean. `RolloutBuffer.minibatches` sees to it that it is no NaN, which would
    reach the gradient of what x was computed from.
    """
    if weight is None:
        return world.mean(x.mean())
    return mean_of_sum(world.sum(weighted_sum(x, weight)))


def weighted_sum(x: Tensor, weight: Tensor) -> Tensor:
    """Sum of (M,) over the rows with weight 1, and how many they are: (2,)."""
    return torch.stack([torch.where(weight > 0, x, 0.0).sum(), weight.sum()])


def mean_of_sum(total: Tensor) -> Tensor:
    """The mean from what `weighted_sum` gives, (2,) -> (); 0 of no rows."""
    return total[0] / total[1].clamp_min(1.0)


def ppo_loss(
    new_log_prob: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    clip: float,
    weight: Tensor | None = None,
    dual_clip: float = 0.0,
) -> Tensor:
    """Clipped surrogate objective, to be minimised: (M,) each -> ().

    Args:
        dual_clip: where above 0, an action that turned out badly pushes no more once it is so many times as likely as before
            (Ye et al. 2020, arXiv 1912.09729, equation 5). PPO alone never gets that far, PPO beside another loss does.
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
    """Mean squared error of values, (M,) each -> (); with `clip` > 0 the worse of it and that of the value held near the old."""
    error = (value - target).square()
    if clip > 0.0 and old_value is not None:
        near = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (near - target).square())
    return weighted_mean(error, weight)


def bounds_loss(mean: Tensor, bound: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over rows of the sum over joints of the squared excess of |mean| over the bound: (M, J), (J,) rad -> ()."""
    return weighted_mean((mean.abs() - bound).clamp_min(0.0).square().sum(-1), weight)


def normalize_advantage(advantage: Tensor, weight: Tensor, world: World = ALONE) -> Tensor:
    """Mean 0 and deviation 1 over the entries with weight 1 of all ranks, 0 elsewhere; any shape."""
    mean = weighted_mean(advantage, weight, world)
    std = weighted_mean((advantage - mean).square(), weight, world).sqrt()
    return torch.where(weight > 0, (advantage - mean) / (std + 1e-8), 0.0)


class PPO:
    """Improves a policy from rollouts.

    Args:
        policy: on `device` already.
        config: see PPOConfig.
        device: of the policy and the rollouts.
        seed: of action noise and minibatch order.
        world: the ranks that train this policy.
    """

    def __init__(
        self,
        policy: ActorCritic,
        config: PPOConfig,
        device: torch.device | str,
        seed: int = 0,
        world: World = ALONE,
    ) -> None:
        self.policy, self.config, self.world = policy, config, world
        self.generator = torch.Generator(device).manual_seed(seed)
        self.log_std = policy.log_std.clone()
        self.optimizer = adamw(
            [
                (policy.actor.parameters(), config.learning_rate),
                (policy.critic.parameters(), config.critic_learning_rate),
            ]
        )
        self.gradients = Recorded(self._gradients, device)

    @property
    def learning_rate(self) -> Tensor:
        """The actor's, ()."""
        return self.optimizer.param_groups[0]["lr"]

    def explore(self, progress: float) -> None:
        """Set the actions' standard deviation, rad, for `progress`, the spent share of the budget; see `PPOConfig.exploration`."""
        left = max(0.0, 1.0 - progress / self.config.exploration_share)
        self.policy.log_std.copy_(self.log_std + left * log(self.config.exploration))

    def update(self, buffer: RolloutBuffer) -> dict[str, float]:
        """Train on a full buffer. Returns metrics averaged over the minibatches."""
        cfg, policy, world = self.config, self.policy, self.world
        buffer.compute_returns(cfg.gamma, cfg.lam)
        weight = buffer.weight
        buffer.data["advantage"].copy_(normalize_advantage(buffer.data["advantage"], weight, world))
        with world.pooling(policy.critic):
            policy.critic.update(buffer.data["return"], weight)
        keys = ("action", "log_prob", "mean", "std", "advantage", "return", "value")
        history = [
            self._minibatch(obs, batch)
            for _ in range(cfg.epochs)
            for obs, batch in buffer.minibatches(cfg.minibatches, keys, self.generator)
        ]
        # Last, so that the log-probabilities of the rollout were those of the policy that acted.
        with world.pooling(policy.tokenizer):
            for obs, valid in buffer.steps():
                policy.update_normalizers(obs, valid)
        if cfg.desired_kl > 0.0:
            kl = torch.stack([row["actor/kl"] for row in history]).nanmean()
            adapt_learning_rate(self.learning_rate, kl, cfg.desired_kl, cfg.min_learning_rate, cfg.max_learning_rate)
        table = torch.stack([torch.stack(list(row.values())) for row in history])
        metrics = dict(zip(history[0], table.nanmean(0).tolist(), strict=True))
        metrics["agent/skipped_updates"] = metrics["agent/skipped_updates"] * len(history)
        metrics["agent/invalid_fraction"] = 1.0 - weight.mean().item()
        metrics["agent/action_std"] = policy.log_std.exp().mean().item()
        return metrics | {"learning_rate": self.learning_rate.item()}

    def _minibatch(self, obs: Obs, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        terms = {key: x.clone() for key, x in self.gradients(obs, batch).items()}
        kl = mean_of_sum(self.world.sum(terms.pop("actor/kl")))
        skipped = guarded_step(self.optimizer, self.config.max_grad_norm, self.world)
        return terms | {"actor/kl": kl, "agent/skipped_updates": skipped}

    def _gradients(self, obs: Obs, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leave the gradient of a minibatch's loss in the parameters; returns its terms and `weighted_sum` of KL(old | new)."""
        cfg, policy, weight = self.config, self.policy, batch["weight"]
        mean, std, value = policy(obs)
        scale = policy.critic.scale
        terms = {
            "actor/ppo_loss": ppo_loss(
                log_prob(batch["action"], mean, std), batch["log_prob"], batch["advantage"], cfg.clip, weight
            ),
            "actor/bounds_loss": bounds_loss(mean, policy.action_bound, weight),
            "critic/value_loss": value_loss(
                value / scale, batch["return"] / scale, weight, batch["value"] / scale, cfg.value_clip
            ),
        }
        weights = {"actor/bounds_loss": cfg.bounds_loss_weight, "critic/value_loss": cfg.value_weight}
        with torch.no_grad():
            kl = weighted_sum(kl_divergence(batch["mean"], batch["std"], mean, std), weight)
        loss = sum((weights.get(name, 1.0) * term for name, term in terms.items()), start=mean.new_zeros(()))
        backward(self.optimizer, loss)
        return {k: x.detach() for k, x in terms.items()} | {"actor/kl": kl}


def train(run: "Run", env: Env, policy: ActorCritic, config: PPOConfig, seed: int = 0) -> None:
    """Train until the run's budget is spent, from its last checkpoint if it has one.

    Args:
        run: an entered Run.
        env: the worlds to learn in.
        policy: on the environment's device.
        seed: of action noise and minibatch order.
    """
    world = run.world
    ppo = PPO(policy, config, env.device, world.seed(seed), world)
    state = LoopState(env.reset(), ppo.generator)
    with world.pooling(policy):
        policy.update_normalizers(state.obs)
    run.restore({"policy": policy, "optimizer": ppo.optimizer, "env": env, "trainer": state})
    buffer = RolloutBuffer({key: state.obs[key] for key in policy.obs_keys}, config.rollout_steps, env.num_actions)
    for _ in run:
        ppo.explore(run.progress)
        state.obs, episodes = collect(env, policy, buffer, state.obs, ppo.generator)
        world.average(env.statistics())
        metrics = ppo.update(buffer)
        run.log(metrics | episode_metrics(world.rows(episodes), env.task_names, env.clip_names), samples=len(buffer))
