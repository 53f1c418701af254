"""Imagined episodes and the losses computed from them.

The policy acts, the world model predicts the next state, and the env's tasks compute the reward. All of it is differentiable, so
the gradient of the return reaches the policy's weights through every step (SHAC, Xu et al. 2022, arXiv 2204.07137).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
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

CRITIC_STRIDE = 4
"""The critic learns from every fourth step of an imagined episode; consecutive ones are almost equal."""
HISTORIES = {"history": "proprioception", "onboard_history": "onboard"}
"""Observations that are histories, and of what."""
Anchor = Callable[[Obs, Mapping[str, slice]], Tensor]
"""Observations and the envs of each task -> mean actions (M, J) of teachers, without gradient."""


@dataclass
class Rollout:
    """M imagined episodes of H steps.

    Attributes:
        gain: (M,) discounted rewards minus penalties up to the end of the episode or the horizon; with gradient.
        reward: (H, M) without gradient, like all of the following unless stated.
        failed, timed_out: (H, M) bool.
        alive: (H + 1, M) bool, whether the episode has not ended before this step.
        last: the observation after the last step; with gradient.
        seen: the H observations, one before each step.
        values: (H, M) of the observation after each step, by the target critic.
        offset: (M,) mean squared offset of the targets from the reference, rad^2.
        anchor_kl: (M,) mean KL of the actions from the anchor's at the policy's standard deviation, nats per joint; None without
            an anchor.
        latent_kl: (M,) mean of `ImaginedAction.latent_kl`, nats, 0 in episodes of the prior; None for a policy without a latent.
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
    """Values (M,) of observations by a critic other than the policy's own."""
    return critic({name: policy.tokenizer(obs, name) for name in policy.critic_tokens})


@dataclass
class Moment:
    """The current state of M imagined envs.

    Attributes:
        x: (M, S) state vectors, see `coordinates`; with gradient, like `state`.
        state: the full state of x.
        histories: what the policy's histories are of, (M, P) at each of the previous steps, newest first, by `HISTORIES`' names.
        sent: (M, D, J) rad, the last targets, newest first, if actions are delayed; see `protege.core.delay`.
        last_action: (M, J) if the policy has onboard sensors.
    """

    x: Tensor
    state: RobotState
    histories: dict[str, list[Tensor]]
    sent: Tensor | None
    last_action: Tensor | None = None


@dataclass
class Outcome:
    """The result of an imagined step.

    Attributes:
        obs: the observation before it.
        value: (M,) of that observation by the target critic; without gradient.
        acted: the policy's action.
        reward: (M,) with gradient.
        failed, timed_out: (M,) bool.
    """

    obs: Obs
    value: Tensor
    acted: ImaginedAction
    reward: Tensor
    failed: Tensor
    timed_out: Tensor


def observe(envs: ImaginedEnv, now: Moment, read: Collection[str] | None) -> Obs:
    """The observations in `read`, or all of them, with the histories that the policy uses.

    Those that are not returned are not computed by compiled code.
    """
    obs = envs.observe(now.state, now.last_action)
    obs = {**obs, **{name: torch.stack(past, dim=1) for name, past in now.histories.items()}}
    return obs if read is None else {name: x for name, x in obs.items() if name in read}


def imagined_step(
    policy: Policy,
    critic: nn.Module,
    model: WorldModel,
    envs: ImaginedEnv,
    config: WorldModelConfig,
    now: Moment,
    factors: Tensor | None,
    delay: Tensor | None,
    draws: Mapping[str, Tensor],
    read: Collection[str] | None = None,
) -> tuple[Moment, Outcome]:
    """Run one imagined control step. A pure function, except that it advances the envs' task states.

    Args:
        critic: the target critic.
        factors: (M, F) of the envs, see `Replay.starts`.
        delay: (M,) control steps, see `Replay.starts`. The model gets the mean target of the control step.
        draws: standard normal numbers: `action` (M, J) and those of the policy's `noise_shapes`.
        read: see `observe`.
    """
    obs = observe(envs, now, read)
    with torch.no_grad(), mixed_precision(policy):
        before = value(policy, critic, obs).float()
    acted = policy.imagine(obs, config.observation_noise, draws)
    action, sent = acted.mean + config.imagined_noise * policy.log_std.exp() * draws["action"], now.sent
    target = policy.default_joint_pos + policy.action_scale * action
    if sent is not None and delay is not None:
        queue = queued(target, sent)
        target, sent = arriving(queue, delay), queue[:, :-1].contiguous()
    x, state = model.move(now.x, now.state, target, factors)
    reward, failed, timed_out = envs.advance(state)
    histories = {name: [obs[HISTORIES[name]], *past[:-1]] for name, past in now.histories.items()}
    following = Moment(x, state, histories, sent, None if now.last_action is None else action)
    return following, Outcome(obs, before, acted, reward, failed, timed_out)


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
    """Run imagined episodes from the states of `Replay.starts`.

    Args:
        anchor: teachers for the term weighted by `WorldModelConfig.anchor_weight`.
        kl_weight: () of the KL of a latent from its prior.
        step: `imagined_step`, possibly compiled.
    """
    envs.load(start)
    # All parts of the state require gradients, as after each step: a compiled step is compiled once.
    begin = {
        name: start[name].detach().requires_grad_() for name in ("x", "past", "sent", "last_action") if name in start
    }
    # Teachers may read any observation.
    keys = policy.obs_keys if anchor is None else HISTORIES.keys()
    x, now = begin["x"], first_moment(keys, model, envs, begin, start.get("past_actions", ()))
    shapes = {"action": policy.log_std.shape, **policy.noise_shapes}
    noise = {
        name: torch.randn(config.horizon, len(x), *shape, generator=generator, device=x.device, dtype=x.dtype)
        for name, shape in shapes.items()
    }
    # `imagine` measures the offset of the targets from the reference.
    read = (*policy.obs_keys, "reference_joint_pos") if anchor is None else None
    outcomes: list[Outcome] = []
    for k in range(config.horizon):
        draws = {name: z[k] for name, z in noise.items()}
        now, outcome = step(
            policy, critic, model, envs, config, now, start.get("factors"), start.get("delay"), draws, read
        )
        outcomes.append(outcome)
    last = observe(envs, now, read)

    def stacked(field: str) -> Tensor:
        return torch.stack([getattr(outcome, field) for outcome in outcomes])

    reward, failed, timed_out = map(stacked, ("reward", "failed", "timed_out"))
    if not config.failures_end:
        failed = torch.zeros_like(failed)
    continues = (~(failed | timed_out)).cumprod(0).bool()
    alive = torch.cat([torch.ones_like(continues[:1]), continues])
    acted = [outcome.acted for outcome in outcomes]
    offsets = torch.stack([action.offset for action in acted])
    squared = offsets.square().mean(-1)
    penalty = config.offset_penalty * squared
    change = config.rate_penalty * (offsets[1:] - offsets[:-1]).square().mean(-1)
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
    with torch.no_grad(), mixed_precision(policy):
        after = value(policy, critic, last).float()
    values = torch.stack([*(outcome.value for outcome in outcomes[1:]), after])
    ends, offset = (failed, timed_out, alive), squared.detach().mean(0)
    return Rollout(gain, reward.detach(), *ends, last, seen, values, offset, anchor_kl, latent_kl)


def first_moment(
    keys: Collection[str],
    model: WorldModel,
    envs: ImaginedEnv,
    begin: Mapping[str, Tensor],
    past_actions: Iterable[Tensor],
) -> Moment:
    """The state of imagined envs before their first step.

    Args:
        keys: observations that will be read.
        begin: some of the tensors of `Replay.starts`.
        past_actions: see `Replay.starts`.
    """
    last_action, states = begin.get("last_action"), begin.get("past", ())
    past = [coordinates.full_state(model.kinematics, before) for before in states]
    histories: dict[str, list[Tensor]] = {}
    if past and "history" in keys:
        histories["history"] = [proprioception(state) for state in past]
    if past and last_action is not None and "onboard_history" in keys:
        histories["onboard_history"] = [envs.onboard(*before) for before in zip(past, past_actions, strict=True)]
    x = begin["x"]
    return Moment(x, coordinates.full_state(model.kinematics, x), histories, begin.get("sent"), last_action)


def _detached(obs: Obs) -> Obs:
    return {name: x.detach() for name, x in obs.items()}


def _joined(seen: Sequence[Obs], keys: Iterable[str]) -> Obs:
    """Observations of all steps as one batch, (H M, ...)."""
    return {name: torch.cat([obs[name] for obs in seen]) for name in keys}


def actor_loss(policy: Policy, critic: nn.Module, rollout: Rollout, config: WorldModelConfig, gamma: float) -> Tensor:
    """Negative mean return per step, (), with the critic's value after the horizon for episodes that have not ended."""
    gain = rollout.gain
    if config.critic:
        left = value(policy, critic, rollout.last)
        gain = gain + gamma**config.horizon * torch.where(rollout.alive[-1], left, 0.0)
    return -gain.mean() / config.horizon


def latent_metrics(rollout: Rollout) -> dict[str, Tensor]:
    """Mean KL of the latents in episodes of the posterior, nats, and survival in episodes of the prior, () each.

    Empty for a policy without a latent.
    """
    if rollout.latent_kl is None:
        return {}
    posterior = rollout.latent_kl > 0
    kl = rollout.latent_kl.sum() / posterior.sum().clamp_min(1)
    survived = (rollout.alive[-1] & ~posterior).sum() / (~posterior).sum().clamp_min(1)
    return {"actor/kl_loss": kl, "actor/prior_survival": survived}


def critic_targets(rollout: Rollout, gamma: float, lam: float) -> Tensor:
    """TD(lambda) returns of the observations before each step, (H, M).

    The value after a failure is 0. At a time-out and at the horizon it is the critic's.
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
    """Mean squared error of the policy's own critic at every `CRITIC_STRIDE`-th step, in units of the returns' variance, ()."""
    obs = _joined(rollout.seen[::CRITIC_STRIDE], policy.tokenizer.obs_keys)
    with mixed_precision(policy):
        predicted = policy.value(obs).float()
    scale = policy.critic.scale
    returns, alive = targets[::CRITIC_STRIDE], rollout.alive[:-1:CRITIC_STRIDE]
    return value_loss(predicted / scale, returns.flatten() / scale, alive.flatten().float())
