"""Trains an experiment: composes the config, builds the environment, and trains in the run's folder."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import prod

import click
import torch

from ..env import Env, EnvPlugin, env_plugin
from ..errors import UserError
from ..launcher import launch
from ..learning.accelerate import loading_compiler
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
    """A kind of training.

    Attributes:
        kind: of the resulting checkpoint.
        parts: the config's parts besides `run` and `env`.
        train: trains until the run's budget is spent.
        base: if no package has the preset `preset`, it is this preset with the overrides `given`.
        given: overrides `key.path=value`.
        preset: see `base`; by default `kind`.
    """

    kind: str
    parts: dict[str, type]
    train: Callable[[Run, Env, Config], None]
    base: str = ""
    given: tuple[str, ...] = ()
    preset: str = ""


def train(experiment: Experiment, preset: str, overrides: Sequence[str], files: Sequence[str] = ()) -> Run:
    """Compose the config (see `compose`), build the environment, and train.

    Returns:
        the run, finished or interrupted.

    Raises:
        UserError: the config, clips, checkpoints or folders are invalid. Nothing was written.
    """
    plugin = env_plugin()
    parts = {"run": RunConfig, "env": plugin.config_class, **experiment.parts}
    config = _compose(experiment, plugin, parts, preset, overrides, files)
    settings = config.run
    if not settings.experiment_name:
        raise UserError("run.experiment_name is empty", "Add --experiment-name NAME")
    checked_name(settings.experiment_name, "run.experiment_name")
    transitions = config.agent.rollout_steps * config.env.num_envs
    minibatches = getattr(config.agent, "minibatches", 1)  # training through a world model has none
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
    """See `compose`; if the experiment has no preset of its own, `Experiment.base` is used."""
    own = experiment.preset or experiment.kind
    if preset == own and experiment.base and preset not in dict(all_presets()):
        preset, overrides = experiment.base, [*experiment.given, *overrides]
    return compose(parts, preset, overrides, files, plugin.robot_settings)


def rank_settings(settings: RunConfig, group: ProcessGroup) -> RunConfig:
    """A run's settings with this rank's seed, device and share of the machine's cores."""
    if group.size == 1:
        return settings
    threads = settings.num_threads or max(1, available_cores() // group.local_size)
    return replace(settings, seed=group.seed(settings.seed), device=str(group.device), num_threads=threads)


def _train(experiment: Experiment, plugin: EnvPlugin, config: Config, group: ProcessGroup, keys: Sequence[str]) -> Run:
    """Train a config in a locked folder. keys: the keys that the user has set."""
    settings = rank_settings(config.run, group)
    torch.set_num_threads(torch_threads(settings.num_threads))
    torch.manual_seed(config.run.seed)
    sensors = getattr(getattr(config, "model", None), "sensors", FULL_STATE)
    with loading_compiler(settings.torch_device(), settings.compile):
        env = plugin.make(settings, config.env, sensors=sensors)
    try:
        check_rollout(env, config.agent.rollout_steps)
        for line in warnings(config, keys, experiment.kind) if group.first else ():
            click.echo(f"warning: {line}", err=True)
        with Run(config, experiment.kind, env.robot, env.obs_shapes, group) as run:
            if group.first:
                selection = settings.motion_split, settings.motion_tags
                run.record_sources(motion_digests(settings.motion_file, *selection))
                run.record_motions(motion_origins(settings.motion_file, env.robot, *selection))
            experiment.train(run, env, config)
    except torch.OutOfMemoryError as error:
        count = config.env.num_envs
        raise UserError(
            f"{count} envs fit into the memory of {env.device}, but their training data does not",
            f"Take half as many: --num-envs {max(1, count // 2)}",
        ) from error
    finally:
        env.close()
    return run


def check_rollout(env: Env, steps: int) -> None:
    """Check that the observations of a rollout, and a shuffled copy, fit into free memory. Only for a CPU.

    Raises:
        UserError: they do not fit; names the number of environments that do.
    """
    if torch.device(env.device).type == "cpu":
        transition = 4.0 * sum(prod(shape) for shape in env.obs_shapes.values())
        what = f"the observations of {steps} steps of {env.num_envs} environments"
        require(
            2.0 * steps * transition, env.num_envs, what, "Take {} or fewer, --num-envs, or fewer agent.rollout_steps"
        )
