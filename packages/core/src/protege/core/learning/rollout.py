"""Collecting experience: the buffer, the loop that fills it, and generalised advantage estimation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..env import Env, Obs, Step
from .policy import PolicySample


class Actor(Protocol):
    """The interface of `collect` to the acting policy."""

    def act(self, obs: Obs, generator: torch.Generator) -> tuple[PolicySample, dict[str, Tensor]]:
        """The sample whose action is executed, and the labels of the observation."""
        ...

    def value(self, obs: Obs) -> Tensor:
        """Expected discounted return, (N,)."""
        ...


def discount(gamma: float | None, dt: float) -> float:
    """Discount per control step of `dt` s: `gamma`, or 0.97 per 1/30 s if it is None."""
    return 0.97 ** (30.0 * dt) if gamma is None else gamma


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    failed: Tensor,
    ended: Tensor,
    invalid: Tensor,
    gamma: float,
    lam: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2015, arXiv 1506.02438), all (T, N).

    The value after a failure is 0. A truncated episode is bootstrapped with `next_value`. An invalid transition has advantage 0.
    The sum ends at all three.

    Args:
        reward: of the transition t.
        value: of the state before the transition.
        next_value: of the state after it, before a reset.
        failed: the episode terminated by failure.
        ended: the next row belongs to another episode (failure or time-out).
        invalid: transitions to ignore.

    Returns:
        advantages and returns (advantage + value).
    """
    delta = reward + gamma * torch.where(failed, 0.0, next_value) - value
    advantage = torch.zeros_like(reward)
    following = torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        following = delta[t] + gamma * lam * torch.where(ended[t], 0.0, following)
        following = torch.where(invalid[t], 0.0, following)
        advantage[t] = following
    return advantage, advantage + value


class RolloutBuffer:
    """T steps of N environments, allocated once. `data` holds every quantity as (T, N, ...).

    Args:
        obs: an example with the keys to store; determines shapes, types, N and the device.
        num_steps: T.
        num_actions: J.
        labels: shapes, without (T, N), of the actor's labels.
    """

    def __init__(
        self, obs: Obs, num_steps: int, num_actions: int, labels: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        example = next(iter(obs.values()))
        device = example.device
        self.num_steps, self.num_envs = num_steps, len(example)
        lead = (num_steps, self.num_envs)
        self.obs = {key: x.new_zeros(num_steps, *x.shape) for key, x in obs.items()}
        vectors = {"action": num_actions, "mean": num_actions, "std": num_actions}
        scalars = ("log_prob", "value", "next_value", "reward", "advantage", "return")
        self.data: dict[str, Tensor] = {k: torch.zeros(*lead, size, device=device) for k, size in vectors.items()}
        self.data |= {k: torch.zeros(lead, device=device) for k in scalars}
        self.data |= {k: torch.zeros(lead, device=device, dtype=torch.bool) for k in ("failed", "timed_out", "invalid")}
        self.data |= {k: torch.zeros(*lead, *shape, device=device) for k, shape in (labels or {}).items()}

    def __len__(self) -> int:
        return self.num_steps * self.num_envs

    @property
    def weight(self) -> Tensor:
        """(T, N) 1 for valid transitions, 0 where physics failed."""
        return (~self.data["invalid"]).float()

    def compute_returns(self, gamma: float, lam: float) -> None:
        """Fill `advantage` and `return`."""
        d = self.data
        ended = d["failed"] | d["timed_out"]
        advantage, returns = gae(d["reward"], d["value"], d["next_value"], d["failed"], ended, d["invalid"], gamma, lam)
        d["advantage"].copy_(advantage)
        d["return"].copy_(returns)

    def steps(self) -> Iterator[tuple[Obs, Tensor]]:
        """Observations (N, ...) and weights (N,) of each step; small enough for a CPU's cache."""
        for t, weight in enumerate(self.weight):
            yield {key: x[t] for key, x in self.obs.items()}, weight

    def minibatches(
        self, count: int, keys: Iterable[str], generator: torch.Generator | None = None
    ) -> Iterator[tuple[Obs, dict[str, Tensor]]]:
        """Shuffle the transitions into `count` equal minibatches: observations and the quantities in `keys`, (M, ...) each.

        `weight` is 0 where physics failed. Such a row is replaced by the first valid transition, so that observations of a broken
        environment reach no network, loss or gradient (zero times NaN is NaN). If no transition is valid, gradients may be NaN;
        `guarded_step` then skips the step.
        """
        obs = {key: x.flatten(0, 1) for key, x in self.obs.items()}
        data = {key: self.data[key].flatten(0, 1) for key in keys}
        weight = self.weight.flatten()
        order = torch.randperm(len(self), generator=generator, device=self.data["reward"].device)
        for rows in order[: len(self) // count * count].view(count, -1):
            valid = weight[rows]
            used = torch.where(valid > 0, rows, weight.argmax())
            yield {k: x[used] for k, x in obs.items()}, {k: x[used] for k, x in data.items()} | {"weight": valid}


@torch.no_grad()
def collect(
    env: Env, actor: Actor, buffer: RolloutBuffer, obs: Obs, generator: torch.Generator
) -> tuple[Obs, dict[str, Tensor]]:
    """Fill the buffer with the actor's transitions, starting from `obs`.

    Returns:
        the last observation, and the rows of the episodes that ended (E,); see `Step.episodes`.
    """
    episodes: list[dict[str, Tensor]] = []
    data = buffer.data
    for t in range(buffer.num_steps):
        sample, labels = actor.act(obs, generator)
        for key, stored in buffer.obs.items():
            stored[t].copy_(obs[key])
        step = env.step(sample.action)
        fields = {k: getattr(sample, k) for k in ("action", "log_prob", "mean", "std", "value")}
        fields |= {k: getattr(step, k) for k in ("failed", "timed_out", "invalid")}
        fields["reward"] = torch.where(step.invalid, 0.0, step.reward)
        for key, x in (fields | labels).items():
            data[key][t].copy_(x)
        data["next_value"][t].copy_(_value_after_timeout(actor, step))
        obs = step.obs
        episodes.append({key: x.clone() for key, x in step.episodes.items()})
    following = torch.cat([data["value"][1:], actor.value(obs).unsqueeze(0)])
    following = torch.where(data["timed_out"], data["next_value"], following)
    # The value of a NaN state is set to 0: the transition to it may be valid.
    data["next_value"].copy_(following.nan_to_num(0.0, 0.0, 0.0))
    ended = data["failed"] | data["timed_out"]
    return obs, {key: torch.stack([rows[key] for rows in episodes])[ended] for key in episodes[0]}


def _value_after_timeout(actor: Actor, step: Step) -> Tensor:
    """(N,) value of the true next state where an episode timed out; undefined elsewhere."""
    if step.timed_out.is_cuda:
        return actor.value(step.next_obs)  # all rows, which is cheaper than a device synchronisation to select rows
    value = torch.zeros_like(step.reward)
    rows = step.timed_out.nonzero().squeeze(1)
    if len(rows):
        value[rows] = actor.value({key: x[rows] for key, x in step.next_obs.items()})
    return value


def episode_metrics(
    table: dict[str, Tensor], task_names: Sequence[str], clip_names: Sequence[str] = ()
) -> dict[str, float]:
    """Means over the episodes that ended, rows (E,) from `collect`; empty if none ended.

    Returns:
        episode/length, episode/return, episode/success, each metric by its name, and with several tasks
        `<task>/success`, `<task>/length`, `<task>/return`; with several clips `success/<clip>`, over its episodes.
    """
    if not len(table["length"]):
        return {}
    success = 1.0 - table["failed"].float()
    columns = {"length": table["length"].float(), "return": table["return"], "success": success}
    means = {f"episode/{name}": x.mean() for name, x in columns.items()}
    means |= {key.removesuffix("/mean"): x.nanmean() for key, x in table.items() if key.endswith("/mean")}
    if len(task_names) > 1:
        for i, task in enumerate(task_names):
            rows = table["task"] == i
            means |= {f"{task}/{name}": torch.where(rows, x, torch.nan).nanmean() for name, x in columns.items()}
    if len(clip_names) > 1:
        counts = torch.stack([success, torch.ones_like(success)]) * (table["clip"] >= 0)
        passed, played = counts.new_zeros(2, len(clip_names)).index_add_(1, table["clip"].clamp_min(0), counts)
        means |= {f"success/{clip}": x for clip, x in zip(clip_names, passed / played, strict=True)}
    values = torch.stack(list(means.values())).tolist()
    return {key: value for key, value in zip(means, values, strict=True) if value == value}
