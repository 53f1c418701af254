"""Training a config: compose it, build its environment, train in its run folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod

import click
import torch

from ..env import Env, EnvPlugin, env_plugin
from ..errors import UserError
from ..launcher import launch
from ..learning.process_group import SINGLE_PROCESS, ProcessGroup
from ..memory import require
from ..names import checked_name
from ..observations import FULL_STATE
from ..threads import available_cores, torch_threads
from .clip_selection import motion_digests, motion_origins
from .config import Config, RunConfig, all_presets, compose, override_keys
from .key_warnings import warnings
from .lock import locked
from .run import Run, run_folder


@dataclass(frozen=True)
class Experiment:
    """Something that can be trained.

    Attributes:
        kind: of the checkpoint that comes out.
        parts: the config's parts besides `run` and `env`.
        train: trains until the run's budget is spent.
        base: a preset; where no package offers one named `preset`, this one and `given` are it.
        given: `key.path=value`, each.
        preset: see `base`; by default `kind`.
    """

    kind: str
    parts: dict[str, type]
    train: Callable[[Run, Env, Config], None]
    base: str = ""
    given: tuple[str, ...] = ()
    preset: str = ""


def train(experiment: Experiment, preset: str, overrides: Sequence[str], files: Sequence[str] = ()) -> Run:
    """Compose the config (see `compose`), build the environment, train.

    Returns:
        the run as it ended: finished, or interrupted.

    Raises:
        UserError: whatever is wrong with config, clips, checkpoints or folders, before anything is written.
    """
    plugin = env_plugin()
    parts = {"run": RunConfig, "env": plugin.config_class, **experiment.parts}
    config = _compose(experiment, plugin, parts, preset, overrides, files)
    settings = config.run
    if not settings.experiment_name:
        raise UserError("run.experiment_name is empty", "Add --experiment-name NAME")
    checked_name(settings.experiment_name, "run.experiment_name")
    transitions = config.agent.rollout_steps * config.env.num_envs
    minibatches = getattr(config.agent, "minibatches", 1)  # a replay is not dealt out
    if minibatches > transitions:
        raise UserError(
            f"agent.minibatches is {minibatches}, but a rollout has {transitions} transitions",
            "Take fewer, or more agent.rollout_steps or env.num_envs",
        )
    group = ProcessGroup.join(settings.torch_device()) if launch().size > 1 else SINGLE_PROCESS
    try:
        with locked(run_folder(settings)) if group.first else nullcontext():
            return _train(experiment, plugin, config, group, override_keys(parts, overrides))
    finally:
        group.close()


def _compose(
    experiment: Experiment,
    plugin: EnvPlugin,
    parts: Mapping[str, type],
    preset: str,
    overrides: Sequence[str],
    files: Sequence[str],
) -> Config:
    """See `compose`; an experiment that no preset is named after has one by `Experiment.base`."""
    own = experiment.preset or experiment.kind
    if preset == own and experiment.base and preset not in dict(all_presets()):
        preset, overrides = experiment.base, [*experiment.given, *overrides]
    return compose(parts, preset, overrides, files, plugin.robot_settings)


def rank_settings(settings: RunConfig, group: ProcessGroup) -> RunConfig:
    """A run's settings with the seed, the device and the share of the machine's cores that this rank's environments have."""
    if group.size == 1:
        return settings
    threads = settings.num_threads or max(1, available_cores() // group.local_size)
    return replace(settings, seed=group.seed(settings.seed), device=str(group.device), num_threads=threads)


def _train(experiment: Experiment, plugin: EnvPlugin, config: Config, group: ProcessGroup, keys: Sequence[str]) -> Run:
    """`train` with its config, in which these keys were given, in a folder that no other process works in."""
    settings = rank_settings(config.run, group)
    torch.set_num_threads(torch_threads(settings.num_threads))
    torch.manual_seed(config.run.seed)
    sensors = getattr(getattr(config, "model", None), "sensors", FULL_STATE)
    env = plugin.make(settings, config.env, sensors=sensors)
    try:
        check_rollout(env, config.agent.rollout_steps)
        for line in warnings(config, keys, experiment.kind) if group.first else ():
            click.echo(f"warning: {line}", err=True)
        with Run(config, experiment.kind, env.robot, env.obs_shapes, group) as run:
            if group.first:
                chosen = settings.motion_split, settings.motion_tags
                run.record_sources(motion_digests(settings.motion_file, *chosen))
                run.record_motions(motion_origins(settings.motion_file, env.robot, *chosen))
            experiment.train(run, env, config)
    except torch.OutOfMemoryError as error:
        count = config.env.num_envs
        raise UserError(
            f"{count} envs fit into the memory of {env.device}, but not what is learned from them beside them",
            f"Take half as many: --num-envs {max(1, count // 2)}",
        ) from error
    finally:
        env.close()
    return run


def check_rollout(env: Env, steps: int) -> None:
    """Whether the observations of a rollout, and once more while they are shuffled, fit into the memory that is free.

    Raises:
        UserError: they do not; with how many environments would. A GPU says so itself.
    """
    if torch.device(env.device).type == "cpu":
        transition = 4.0 * sum(prod(shape) for shape in env.obs_shapes.values())
        told = f"the observations of {steps} steps of {env.num_envs} environments"
        require(
            2.0 * steps * transition, env.num_envs, told, "Take {} or fewer, --num-envs, or fewer agent.rollout_steps"
        )
