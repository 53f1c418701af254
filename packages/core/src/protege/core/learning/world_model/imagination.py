"""Episodes that only the model plays, and the gradients of what they bring.

The policy acts, the model says where that leads, and the env's own functions say what it is worth. All of it is differentiable, so
the gradient of the return reaches the policy's weights through every step (SHAC, Xu et al. 2022, arXiv 2204.07137).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...delay import arriving, queued
from ...env import ImaginedEnv, Obs
from ...observations import proprioception
from ...robots.state import RobotState
from ..accelerate import mixed_precision
from ..learner import Policy
from ..policy import ImaginedAction
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
        anchor_kl: (M,) mean KL of the actions from the anchor's, nats a joint, by the policy's deviation; None without an anchor.
        latent_kl: (M,) mean of `ImaginedAction.latent_kl`, nats, 0 where it is not paid; None for a policy that has no latent.
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
    anchor_kl: Tensor | None
    latent_kl: Tensor | None


def value(policy: Policy, critic: nn.Module, obs: Obs) -> Tensor:
    """By another critic than the policy's own, (M,)."""
    return critic({name: policy.tokenizer(obs, name) for name in policy.critic_tokens})


@dataclass
class Moment:
    """Where M imagined envs are.

    Attributes:
        x: (M, S) state, see `coordinates`; with a gradient, like `state`.
        state: the whole of x.
        felt: proprioceptions (M, P) of the steps before, newest first: what `history` is made of, if the policy has one.
        sent: (M, D, J) the last actions, newest first, where actions arrive late; see `protege.core.delay`.
    """

    x: Tensor
    state: RobotState
    felt: list[Tensor]
    sent: Tensor | None


@dataclass
class Outcome:
    """What an imagined step brings.

    Attributes:
        obs: the observation before it.
        acted: what the policy did.
        reward: (M,) with a gradient.
        failed, timed_out: (M,) bool.
    """

    obs: Obs
    acted: ImaginedAction
    reward: Tensor
    failed: Tensor
    timed_out: Tensor


def observe(envs: ImaginedEnv, now: Moment) -> Obs:
    """What the policy sees, its history included if it has one."""
    obs = envs.observe(now.state)
    return {**obs, "history": torch.stack(now.felt, dim=1)} if now.felt else obs


def imagined_step(
    policy: Policy,
    model: WorldModel,
    envs: ImaginedEnv,
    config: WorldModelConfig,
    now: Moment,
    factors: Tensor | None,
    delay: Tensor | None,
    draws: Mapping[str, Tensor],
) -> tuple[Moment, Outcome]:
    """One control step: the policy acts, the model moves, the envs judge. A pure function but for the envs' rows.

    Args:
        factors: (M, F) what differs between envs, delay: (M,) control steps; see `Replay.starts`.
        draws: standard normal numbers, `action` (M, J) and those that the policy asks for.
    """
    obs = observe(envs, now)
    acted = policy.imagine(obs, config.observation_noise, draws)
    action, sent = acted.mean + config.imagined_noise * policy.log_std.exp() * draws["action"], now.sent
    if sent is not None and delay is not None:
        queue = queued(action, sent)
        action, sent = arriving(queue, delay), queue[:, :-1]
    x, state = model.move(now.x, now.state, policy.default_joint_pos + policy.action_scale * action, factors)
    reward, failed, timed_out = envs.advance(state)
    following = Moment(x, state, [obs["proprioception"], *now.felt][: len(now.felt)], sent)
    return following, Outcome(obs, acted, reward, failed, timed_out)


def play(
    policy: Policy,
    critic: nn.Module,
    model: WorldModel,
    envs: ImaginedEnv,
    start: Mapping[str, Tensor],
    config: WorldModelConfig,
    gamma: float,
    generator: torch.Generator,
    anchor: Anchor | None = None,
    kl_weight: Tensor | float = 0.0,
    step: Callable[..., tuple[Moment, Outcome]] = imagined_step,
) -> Rollout:
    """Play from what `Replay.starts` gave.

    Args:
        anchor: whose actions are kept near, by `WorldModelConfig.anchor_weight`.
        kl_weight: () of the KL of a latent from its prior.
        step: `imagined_step`, or the same compiled.
    """
    envs.load(start)
    x = start["x"].detach().requires_grad_()  # as after every step: what is compiled is compiled once
    felt = [proprioception(coordinates.full_state(model.kinematics, before)) for before in start.get("past", ())]
    now = Moment(x, coordinates.full_state(model.kinematics, x), felt, start.get("sent"))
    shapes = {"action": policy.log_std.shape, **policy.noise_shapes}
    noise = {
        name: torch.randn(config.horizon, len(x), *shape, generator=generator, device=x.device, dtype=x.dtype)
        for name, shape in shapes.items()
    }
    outcomes: list[Outcome] = []
    for k in range(config.horizon):
        draws = {name: z[k] for name, z in noise.items()}
        now, outcome = step(policy, model, envs, config, now, start.get("factors"), start.get("delay"), draws)
        outcomes.append(outcome)
    last = observe(envs, now)

    def stacked(field: str) -> Tensor:
        return torch.stack([getattr(outcome, field) for outcome in outcomes])

    reward, failed, timed_out = map(stacked, ("reward", "failed", "timed_out"))
    if not config.failures_end:
        failed = torch.zeros_like(failed)
    goes_on = (~(failed | timed_out)).cumprod(0).bool()
    alive = torch.cat([torch.ones_like(goes_on[:1]), goes_on])
    acted = [outcome.acted for outcome in outcomes]
    pull = torch.stack([action.offset for action in acted])
    squared = pull.square().mean(-1)
    penalty = config.offset_penalty * squared
    change = config.rate_penalty * (pull[1:] - pull[:-1]).square().mean(-1)
    penalty = penalty + torch.cat([torch.zeros_like(change[:1]), change])
    anchor_kl = latent_kl = None
    if anchor is not None:
        labels = torch.stack([anchor(_detached(outcome.obs), envs.task_slices) for outcome in outcomes])
        mean = torch.stack([action.mean for action in acted])
        divergence = 0.5 * ((mean - labels) / policy.log_std.exp()).square().mean(-1)
        penalty = penalty + config.anchor_weight * divergence
        anchor_kl = divergence.detach().mean(0)
    kls = [action.latent_kl for action in acted if action.latent_kl is not None]
    if kls:
        penalty = penalty + kl_weight * torch.stack(kls)
        latent_kl = torch.stack(kls).detach().mean(0)
    discounts = gamma ** torch.arange(config.horizon, device=x.device, dtype=x.dtype)
    gain = (discounts.unsqueeze(1) * torch.where(alive[:-1], reward - penalty, 0.0)).sum(0)
    seen = [_detached(outcome.obs) for outcome in outcomes]
    with torch.no_grad():
        following = _joined([*seen[1:], _detached(last)], policy.tokenizer.obs_keys)
        values = value(policy, critic, following).view_as(reward)
    ends, offset = (failed, timed_out, alive), squared.detach().mean(0)
    return Rollout(gain, reward.detach(), *ends, last, seen, values, offset, anchor_kl, latent_kl)


def _detached(obs: Obs) -> Obs:
    return {name: x.detach() for name, x in obs.items()}


def _joined(seen: Sequence[Obs], keys: Iterable[str]) -> Obs:
    """Observations of all steps as one batch, (H M, ...)."""
    return {name: torch.cat([obs[name] for obs in seen]) for name in keys}


def actor_loss(policy: Policy, critic: nn.Module, rollout: Rollout, config: WorldModelConfig, gamma: float) -> Tensor:
    """Less the mean return, with the critic's value after the horizon where an episode goes on, a step; ()."""
    gain = rollout.gain
    if config.critic:
        left = value(policy, critic, rollout.last)
        gain = gain + gamma**config.horizon * torch.where(rollout.alive[-1], left, 0.0)
    return -gain.mean() / config.horizon


def latent_metrics(rollout: Rollout) -> dict[str, Tensor]:
    """Mean KL of the latents of the episodes in which it is paid, nats, and the imagined survival of the others, () each.

    Empty for a policy that has no latent.
    """
    if rollout.latent_kl is None:
        return {}
    paid = rollout.latent_kl > 0
    kl = rollout.latent_kl.sum() / paid.sum().clamp_min(1)
    survived = (rollout.alive[-1] & ~paid).sum() / (~paid).sum().clamp_min(1)
    return {"actor/kl_loss": kl, "actor/prior_survival": survived}


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


def critic_loss(policy: Policy, rollout: Rollout, targets: Tensor) -> Tensor:
    """Mean squared error of the policy's own critic, in units of the returns' deviation, ()."""
    obs = _joined(rollout.seen, policy.tokenizer.obs_keys)
    with mixed_precision(policy):
        predicted = policy.value(obs).float()
    scale = policy.critic.scale
    return value_loss(predicted / scale, targets.flatten() / scale, rollout.alive[:-1].flatten().float())
