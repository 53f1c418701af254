"""Episodes that only the model plays, and the gradients of what they bring.

The policy acts, the model says where that leads, and the env's own functions say what it is worth. All of it is differentiable, so
the gradient of the return reaches the policy's weights through every step (SHAC, Xu et al. 2022, arXiv 2204.07137).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...delay import arriving, queued
from ...env import ImaginedEnv, Obs
from ...observations import proprioception
from ..accelerate import mixed_precision
from ..policy import ActorCritic
from ..ppo import value_loss
from . import coordinates
from .config import WorldModelConfig
from .dynamics import WorldModel

Anchor = Callable[[Obs, Mapping[str, slice]], Tensor]
"""Observations, and the envs of each task -> the mean actions (M, J) of teachers; without a gradient."""


@dataclass
class Rollout:
    """M imagined episodes of H steps.

    Attributes:
        gain: (M,) discounted rewards less penalties up to the end of the episode or the horizon; with a gradient.
        reward: (H, M) without a gradient, like all that follows.
        failed, timed_out: (H, M) bool.
        alive: (H + 1, M) bool, whether the episode went on until then.
        last: the observation after the last step; with a gradient.
        seen: H observations before each step.
        values: (H, M) of the observation after each step, by the target critic.
        offset: (M,) mean squared offset of the targets from the reference, rad^2.
        anchor_kl: (M,) mean KL of the actions from the anchor's, nats a joint, as if both had the policy's deviation.
    """

    gain: Tensor
    reward: Tensor
    failed: Tensor
    timed_out: Tensor
    alive: Tensor
    last: Obs
    seen: list[Obs]
    values: Tensor
    offset: Tensor
    anchor_kl: Tensor


class Arrival:
    """When actions arrive in imagined episodes: as late as in the envs where they started.

    Args:
        start: see `Replay.starts`; without `sent`, actions arrive at once.
    """

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        self.delayed = "sent" in start
        if self.delayed:
            self.sent, self.delay = start["sent"], start["delay"]

    def __call__(self, action: Tensor) -> Tensor:
        """The actions that arrive now that these are sent, (M, J) both."""
        if not self.delayed:
            return action
        queue = queued(action, self.sent)
        self.sent = queue[:, :-1]
        return arriving(queue, self.delay)


def value(policy: ActorCritic, critic: nn.Module, obs: Obs) -> Tensor:
    """By another critic than the policy's own, (M,)."""
    return critic({name: policy.tokenizer(obs, name) for name in policy.critic_tokens})


def with_history(obs: Obs, felt: list[Tensor]) -> Obs:
    """The observation with the proprioceptions before it, (M, P) each, newest first, if there are any."""
    return {**obs, "history": torch.stack(felt, dim=1)} if felt else obs


def play(
    policy: ActorCritic,
    critic: nn.Module,
    model: WorldModel,
    envs: ImaginedEnv,
    start: Mapping[str, Tensor],
    config: WorldModelConfig,
    gamma: float,
    generator: torch.Generator,
    anchor: Anchor | None = None,
) -> Rollout:
    """Play from what `Replay.starts` gave.

    Args:
        anchor: whose actions are kept near, by `WorldModelConfig.anchor_weight`.
    """
    envs.load(start)
    x = start["x"].detach().requires_grad_()  # as after every step: what is compiled is compiled once
    state = coordinates.full_state(model.kinematics, x)
    felt = [proprioception(coordinates.full_state(model.kinematics, before)) for before in start.get("past", ())]
    obs, alive, weight = with_history(envs.observe(state), felt), torch.ones_like(x[:, 0], dtype=torch.bool), 1.0
    gain, squared, anchor_kl = (torch.zeros_like(x[:, 0]) for _ in range(3))
    before: Tensor | None = None
    rewards, failures, timeouts, lives, values = [], [], [], [alive], []
    seen: list[Obs] = []
    scale, std = policy.action_scale, policy.log_std.exp()
    arrival, factors = Arrival(start), start.get("factors")
    for _ in range(config.horizon):
        seen.append({name: part.detach() for name, part in obs.items()})
        with mixed_precision(policy):
            offset = policy.offset(obs, config.observation_noise, generator).float()
        noise = torch.randn(offset.shape, generator=generator, device=offset.device)
        mean = policy.around_reference(offset, obs)
        action = mean + config.imagined_noise * std * noise
        x, state = model.move(x, state, policy.default_joint_pos + scale * arrival(action), factors)
        reward, failed, timed_out = envs.advance(state)
        felt = [obs["proprioception"], *felt][: len(felt)]
        obs = with_history(envs.observe(state), felt)
        pull = offset * scale
        penalty = config.offset_penalty * pull.square().mean(-1)
        if before is not None:
            penalty = penalty + config.rate_penalty * (pull - before).square().mean(-1)
        if anchor is not None:
            divergence = 0.5 * ((mean - anchor(seen[-1], envs.task_slices)) / std).square().mean(-1)
            penalty = penalty + config.anchor_weight * divergence
            anchor_kl = anchor_kl + divergence.detach() / config.horizon
        gain = gain + weight * torch.where(alive, reward - penalty, 0.0)
        squared, before, weight = squared + pull.detach().square().mean(-1) / config.horizon, pull, weight * gamma
        alive = alive & ~(failed | timed_out)
        with torch.no_grad():
            values.append(value(policy, critic, {name: part.detach() for name, part in obs.items()}))
        for kept, now in ((rewards, reward.detach()), (failures, failed), (timeouts, timed_out), (lives, alive)):
            kept.append(now)
    stacked = (torch.stack(part) for part in (rewards, failures, timeouts, lives))
    return Rollout(gain, *stacked, last=obs, seen=seen, values=torch.stack(values), offset=squared, anchor_kl=anchor_kl)


def actor_loss(
    policy: ActorCritic, critic: nn.Module, rollout: Rollout, config: WorldModelConfig, gamma: float
) -> Tensor:
    """Less the mean return, with the critic's value after the horizon where an episode goes on, a step; ()."""
    gain = rollout.gain
    if config.critic:
        left = value(policy, critic, rollout.last)
        gain = gain + gamma**config.horizon * torch.where(rollout.alive[-1], left, 0.0)
    return -gain.mean() / config.horizon


def critic_targets(rollout: Rollout, gamma: float, lam: float) -> Tensor:
    """TD(lambda) returns of the observations before each step, (H, M).

    A failure is worth nothing from then on; a time-out, and the horizon, what the critic says.
    """
    horizon = len(rollout.reward)
    following = rollout.values[-1]
    targets = [torch.empty(0)] * horizon
    for k in reversed(range(horizon)):
        mixed = torch.lerp(rollout.values[k], following, lam)
        left = torch.where(rollout.timed_out[k], rollout.values[k], mixed)
        following = rollout.reward[k] + gamma * torch.where(rollout.failed[k], 0.0, left)
        targets[k] = following
    return torch.stack(targets)


def critic_loss(policy: ActorCritic, rollout: Rollout, targets: Tensor) -> Tensor:
    """Mean squared error of the policy's own critic, in units of the returns' deviation, ()."""
    keys = policy.tokenizer.obs_keys
    obs = {name: torch.cat([seen[name] for seen in rollout.seen]) for name in keys}
    with mixed_precision(policy):
        predicted = policy.value(obs).float()
    scale = policy.critic.scale
    return value_loss(predicted / scale, targets.flatten() / scale, rollout.alive[:-1].flatten().float())
