"""Evaluation: complete episodes of a deterministic policy, and their results with 95 % confidence intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any

import torch
from torch import Tensor

from .. import checks
from ..env import Env, Obs, env_plugin
from ..errors import UserError
from ..robots.robot import Robot
from .config import RunConfig, from_dict
from .load_policy import LoadedPolicy, check_observations
from .resuming import check_robot

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Summary:
    """A task's result over its episodes. Intervals are NaN if there are too few episodes.

    Attributes:
        episodes: number of episodes.
        success: share that did not fail.
        success_ci: its Wilson 95 % interval.
        error: mean of the episodes' metric.
        error_ci: its normal 95 % interval.
    """

    episodes: int
    success: float
    success_ci: tuple[float, float]
    error: float
    error_ci: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        return {key: list(x) if isinstance(x, tuple) else x for key, x in asdict(self).items()}


def rounded_up(num_episodes: int, num_envs: int) -> int:
    """Number of episodes that `run_episodes` runs: a multiple of the number of envs."""
    return num_envs * -(-num_episodes // num_envs)


@torch.no_grad()
def run_episodes(env: Env, act: Callable[[Obs], Tensor], num_episodes: int) -> dict[str, Tensor]:
    """Run episodes and return their rows (E,), see `Step.episodes`, with `env_id`, the env of each.

    Every env contributes the same number of its first episodes. Counting all episodes that end first would favour short ones,
    which are failures.

    Args:
        act: observation -> actions (N, J), see `Env.step`.
        num_episodes: minimum number of episodes; rounded up to a multiple of the envs.

    Returns:
        the rows in the order of envs.
    """
    each = rounded_up(num_episodes, env.num_envs) // env.num_envs
    left = torch.full((env.num_envs,), each, device=env.device)
    ended: list[dict[str, Tensor]] = []
    obs = env.reset()
    while (left > 0).any():
        step = env.step(act(obs))
        obs = step.obs
        envs = (step.ended & (left > 0)).nonzero().squeeze(1)
        ended.append({"env_id": envs, **{key: x[envs] for key, x in step.episodes.items()}})
        left[envs] -= 1
    rows = {key: torch.cat([part[key] for part in ended]) for key in ended[0]}
    order = rows["env_id"].argsort(stable=True)
    return {key: x[order] for key, x in rows.items()}


def default_simulator(loaded: LoadedPolicy, device: str = "auto") -> str:
    """The default simulator for evaluating a policy: the fastest installed one for the device."""
    return env_plugin().fastest_simulator(device, loaded.config["run"]["simulator"])


def evaluation_env(
    loaded: LoadedPolicy,
    task: str,
    *,
    num_envs: int,
    seed: int,
    robot: str | None = None,
    simulator: str | None = None,
    motion_file: Sequence[str] = (),
    motion_split: str | None = None,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> Env:
    """Make envs of one task that end episodes by its failure rule, with the policy's training config.

    Args:
        robot: name or file that replaces the training's robot.
        motion_file, motion_split: replace those of the training. The training's tags only apply to its own motion files.
        simulator: by default see `default_simulator`.
        overrides: of the training's `env` config, by name.

    Raises:
        UserError: a setting is invalid, or the environment's observations differ from the policy's.
    """
    plugin = env_plugin()
    driven = driven_robot(loaded, robot)
    saved = from_dict({"run": RunConfig, "env": plugin.config_class}, loaded.config)
    run = replace(
        saved.run,
        simulator=simulator or default_simulator(loaded, device),
        motion_file=list(motion_file) or saved.run.motion_file,
        motion_split=motion_split or saved.run.motion_split,
        motion_tags=[] if motion_file else saved.run.motion_tags,
        seed=seed,
        device=device,
    )
    config = replace(saved.env, **{**(overrides or {}), "num_envs": num_envs, "task_mix": {task: 1.0}})
    checks.check(run, "run")
    checks.check(config, "env")
    env = plugin.make(run, config, evaluation=True, robot=driven, sensors=loaded.policy.sensors)
    remedy = "Evaluate it with the environment config that it was trained with"
    try:
        read = loaded.policy.obs_keys  # others may belong to tasks that are no longer installed
        check_observations(loaded, env, [x for x in loaded.obs_shapes if x in read or x in env.obs_shapes], remedy)
    except UserError:
        env.close()
        raise
    return env


def driven_robot(loaded: LoadedPolicy, requested: str | None = None) -> Robot:
    """The robot that a policy controls: the requested one or that of its training, from its current files.

    If the robot's package and file are no longer available, it is the robot that the checkpoint describes.

    Raises:
        UserError: there is no such robot, or it differs from the one that the policy was trained with.
    """
    plugin, trained_with = env_plugin(), requested in (None, loaded.robot)
    name = loaded.config["run"]["robot"] if trained_with else str(requested)
    if not plugin.has_robot(name):
        if trained_with and (described := loaded.checkpoint.described_robot()):
            return described
        if not trained_with:
            problem = f"{loaded.path} drives the robot {loaded.robot}, and there is no {name}"
            raise UserError(problem, f"Take --robot {loaded.robot}")
    robot = plugin.robot(name)
    check_robot(loaded.path, loaded.checkpoint, robot)
    return robot


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927)."""
    if not count:
        return float("nan"), float("nan")
    share, z2 = successes / count, Z95**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = Z95 * sqrt(share * (1 - share) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    # At the ends the formula gives 0 and 1 up to rounding.
    return 0.0 if not successes else center - half, 1.0 if successes == count else center + half


def mean_interval(values: Tensor) -> tuple[float, float]:
    """95 % confidence interval of a mean, normal approximation; values (E,)."""
    if len(values) < 2:
        return float("nan"), float("nan")
    half = Z95 * float(values.double().std()) / sqrt(len(values))
    mean = float(values.double().mean())
    return mean - half, mean + half


def difference_interval(
    first: float, first_ci: Sequence[float], second: float, second_ci: Sequence[float]
) -> tuple[float, float]:
    """95 % confidence interval of `first - second`, two independent estimates with their 95 % intervals.

    For proportions with Wilson's intervals it is that of Newcombe (1998), method 10; for means see Zou & Donner (2008).
    """
    difference = first - second
    below = sqrt((first - first_ci[0]) ** 2 + (second_ci[1] - second) ** 2)
    above = sqrt((first_ci[1] - first) ** 2 + (second - second_ci[0]) ** 2)
    return difference - below, difference + above


def summarize(episodes: dict[str, Tensor], metric: str) -> Summary:
    """Success and mean error.

    Args:
        episodes: from `run_episodes`.
        metric: a column, e.g. `cartesian_err/mean`. Episodes without a value (NaN) only count for the success.
    """
    failed, values = episodes["failed"], episodes[metric]
    values = values[~values.isnan()]
    count, successes = len(failed), int((~failed).sum())
    return Summary(
        episodes=count,
        success=successes / count if count else float("nan"),
        success_ci=wilson_interval(successes, count),
        error=float(values.double().mean()) if len(values) else float("nan"),
        error_ci=mean_interval(values),
    )


def by_clip(episodes: dict[str, Tensor], clip_names: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Group the rows (E,) of `run_episodes` by the name of the tracked clip, without rows that track none (`clip` below 0)."""
    rows = {name: episodes["clip"] == i for i, name in enumerate(clip_names)}
    return {name: {key: x[which] for key, x in episodes.items()} for name, which in rows.items() if which.any()}
