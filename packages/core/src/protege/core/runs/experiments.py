"""What can be trained: a checkpoint's kind, its config's schema and a function; and the way back from a checkpoint."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from ..env import Env, EnvPlugin, env_plugin
from ..errors import UserError
from ..learning import masked_mimic, ppo
from ..learning.accelerate import accelerate
from ..learning.masked_mimic import MaskedMimic, MaskedMimicConfig
from ..learning.policy import ActorCritic, ModelConfig
from ..learning.ppo import PPOConfig
from ..learning.process_group import World
from ..memory import require
from ..names import checked_name
from ..robots.robot import Robot
from ..threads import torch_threads
from .checkpoint import ZOO, Checkpoint, load
from .config import Config, RunConfig, compose, from_dict, override_keys
from .lock import locked
from .resuming import clip_digests, weights_digest
from .run import Run, run_folder
from .training_state import check_weights

Policy = ActorCritic | MaskedMimic


@dataclass(frozen=True)
class Experiment:
    """Something that can be trained.

    Attributes:
        kind: of the checkpoint that comes out.
        parts: the config's parts besides `run` and `env`.
        train: trains until the run's budget is spent.
    """

    kind: str
    parts: dict[str, type]
    train: Callable[[Run, Env, Config], None]


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy ready to act, and what its checkpoint says about it."""

    policy: Policy
    checkpoint: Checkpoint
    path: Path

    @property
    def kind(self) -> str:
        return self.checkpoint.kind

    @property
    def config(self) -> dict[str, Any]:
        return self.checkpoint.config

    @property
    def robot(self) -> str:
        return self.checkpoint.robot

    @property
    def digest(self) -> str:
        """SHA-256 of its weights, as in the checkpoint; see `resuming.weights_digest`."""
        return weights_digest(self.checkpoint.model)

    @property
    def obs_shapes(self) -> dict[str, list[int]]:
        return self.checkpoint.obs_shapes


TRAINED_BY = {
    "env.masked_mimic_params": ("masked_mimic", "protege core train masked_mimic/path_follower"),
    "env.path_follower_params": ("path", "protege teachers train path_follower"),
    "env.goal_params": ("goal", "protege teachers train goal_directed"),
    "env.steering_params": ("steering", "protege teachers train steering"),
}
"""By the key of a task's parameters: the task, and the command that trains its teacher."""


def warnings(config: Config, keys: Sequence[str], kind: str) -> list[str]:
    """What is to be said about keys that were given: their task has no worlds, or a tracker's worlds are paid by two measures."""
    env, stages = config.env, getattr(config.agent, "curriculum", [])
    mixes = [stage.task_mix for stage in stages] or [env.task_mix]
    tasks = {task for mix in mixes for task, weight in mix.items() if weight > 0.0}
    if env.mix_probability > 0.0 and tasks & {"path", "goal"}:
        tasks |= {"masked_mimic", "steering"}  # such worlds also show poses and steering commands
    lines = []
    for key in keys:
        task, command = TRAINED_BY.get(".".join(key.split(".")[:2]), ("", ""))
        if task and task not in tasks:
            lines.append(f"{key} has no effect: no world has the task {task}. Its teacher's command: {command}")
    if kind == "tracker" and any("reward" in key for key in keys):
        params = {"env.track": "track"} | {key: task for key, (task, _) in TRAINED_BY.items()}
        paid = [
            (key, _pay(getattr(env, key.removeprefix("env."))))
            for key, task in params.items()
            if task in tasks - {"masked_mimic"}
        ]
        lines += [
            f"{key}.rewards are not those of {paid[0][0]}: a tracker, which is not told its task, learns badly from both"
            for key, pay in paid
            if pay != paid[0][1]
        ]
    return lines


def _pay(params: Any) -> dict[str, float]:
    """The weights of a task's rewards that are not zero."""
    weights = {**params.rewards, "goal_closeness": getattr(params, "goal_reward_weight", 0.0)}
    return {term: weight for term, weight in weights.items() if weight != 0.0}


def train(experiment: Experiment, preset: str, overrides: Sequence[str], files: Sequence[str] = ()) -> Run:
    """Compose the config (see `compose`), build the environment, train.

    Returns:
        the run as it ended: finished, or interrupted.

    Raises:
        UserError: whatever is wrong with config, clips, checkpoints or folders, before anything is written.
    """
    plugin = env_plugin()
    parts = {"run": RunConfig, "env": plugin.config_class, **experiment.parts}
    config = compose(parts, preset, overrides, files)
    settings = config.run
    if not settings.experiment_name:
        raise UserError("run.experiment_name is empty", "Add --experiment-name NAME")
    checked_name(settings.experiment_name, "run.experiment_name")
    transitions = config.agent.rollout_steps * config.env.num_envs
    if config.agent.minibatches > transitions:
        raise UserError(
            f"agent.minibatches is {config.agent.minibatches}, but a rollout has {transitions} transitions",
            "Take fewer, or more agent.rollout_steps or env.num_envs",
        )
    world = World.join(settings)
    try:
        with locked(run_folder(settings)) if world.first else nullcontext():
            return _train(experiment, plugin, config, world, override_keys(parts, overrides))
    finally:
        world.close()


def _train(experiment: Experiment, plugin: EnvPlugin, config: Config, world: World, keys: Sequence[str]) -> Run:
    """`train` with its config, in which these keys were given, in a folder that no other process works in."""
    settings = world.settings(config.run)
    torch.set_num_threads(torch_threads(settings.num_threads))
    torch.manual_seed(config.run.seed)
    env = plugin.make(settings, config.env)
    try:
        check_rollout(env, config.agent.rollout_steps)
        for line in warnings(config, keys, experiment.kind) if world.first else ():
            click.echo(f"warning: {line}", err=True)
        with Run(config, experiment.kind, env.robot, env.obs_shapes, world) as run:
            if world.first:
                run.learns_from(clip_digests(config.run.motion_file))
            experiment.train(run, env, config)
    except torch.OutOfMemoryError as error:
        worlds = config.env.num_envs
        raise UserError(
            f"{worlds} worlds fit into the memory of {env.device}, but not what is learned from them beside them",
            f"Take half as many: --num-envs {max(1, worlds // 2)}",
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


def action_bound(robot: Robot) -> Tensor:
    """How far from the default pose a joint's target may be, (J,) rad: as far as its further limit."""
    return (robot.joint_range() - robot.default_pose().unsqueeze(1)).abs().amax(dim=1)


def make_actor_critic(env: Env, config: ModelConfig) -> ActorCritic:
    """A fresh policy on the environment's device."""
    robot = env.robot
    policy = ActorCritic(env.obs_shapes, action_bound(robot), config, robot.default_pose(), robot.damping_time())
    return policy.to(env.device)


def load_to_act(
    path: str | Path,
    env: Env,
    key: str,
    kinds: Sequence[str],
    *,
    absent: str = "Train it first, or give the folder of another run",
    remedy: str = "Take the env config that it was trained with (env.history_steps, env.future_frames, ...)",
) -> LoadedPolicy:
    """A policy that is to act, or to say what it would do, in an environment: an expert or a teacher.

    Args:
        key: the config key that names it, for the message.
        kinds: what it may be; see `Checkpoint.kind`.
        absent: what to do if there is nothing at `path`.
        remedy: what to do if it observes differently.

    Raises:
        UserError: naming the key; see `load_policy`, or if it is of another kind, drives other joints, or reads observations that
            the environment does not give.
    """
    try:
        loaded = load_policy(path, env.device, robot=env.robot.name)
        if loaded.kind not in kinds:
            raise UserError(f"{path} holds a {loaded.kind}, not a {' or a '.join(kinds)}", "Give the run of one")
        if loaded.checkpoint.joint_names != list(env.robot.joint_names):
            raise UserError(f"{path} drives other joints than {env.robot.name} has now", "Train it again")
        check_observations(loaded, env, loaded.policy.obs_keys, remedy)
    except UserError as error:
        there = str(path).startswith(ZOO) or Path(path).exists()
        raise UserError(f"{key}: {error.problem}", error.remedy if there else absent) from error
    return loaded


def check_observations(loaded: LoadedPolicy, env: Env, names: Iterable[str], remedy: str) -> None:
    """Compare the shapes of observations that a policy was built for with those of an environment.

    Raises:
        UserError: naming the first that differs.
    """
    for name in names:
        seen, given = tuple(loaded.obs_shapes.get(name, ())), tuple(env.obs_shapes.get(name, ()))
        if seen != given:
            raise UserError(
                f"{loaded.path} learned with {name} of shape {seen}, here it is {given or 'missing'}", remedy
            )


ACTOR_CRITICS = ("tracker", "path_follower", "goal_directed", "steering", "student")
"""Kinds of policy that a training by PPO can start from: those whose network is its own."""


def load_expert(path: str, env: Env, kinds: Sequence[str]) -> LoadedPolicy:
    """The policy at `agent.expert_model_path`; see `load_to_act`."""
    absent = "Train it first, or name it: agent.expert_model_path=results/NAME"
    return load_to_act(path, env, "agent.expert_model_path", kinds, absent=absent)


def train_ppo(run: Run, env: Env, config: Config) -> None:
    """PPO from `agent.expert_model_path` if there is one: the tracker, and every teacher that starts from it.

    A run that goes on has what it needs in its own checkpoint: its expert may be gone.
    """
    policy = make_actor_critic(env, config.model)
    if run.resumes:
        pass  # `Run.restore` loads the weights
    elif config.agent.expert_model_path:
        policy.load_from(load_expert(config.agent.expert_model_path, env, ACTOR_CRITICS).policy.state_dict())
    elif run.kind != "tracker" and not config.run.checkpoint:
        run.say("starts from scratch, not from a tracker: agent.expert_model_path is empty")
    accelerate(policy, config.run, env.device)
    ppo.train(run, env, policy, config.agent, config.run.seed)


def train_masked_mimic(run: Run, env: Env, config: Config) -> None:
    """MaskedMimic, taught by the tracker at `agent.expert_model_path`."""
    path = config.agent.expert_model_path
    if not path:
        raise UserError(
            "agent.expert_model_path is empty", "Name the tracker: agent.expert_model_path=results/smpl_tracker"
        )
    loaded = load_expert(path, env, ["tracker"])
    run.learns_from({path: loaded.digest})
    expert = accelerate(loaded.policy, config.run, env.device)
    policy = MaskedMimic(env.obs_shapes, action_bound(env.robot), config.agent, env.robot.default_pose()).to(env.device)
    accelerate(policy, config.run, env.device)
    masked_mimic.train(run, env, policy, expert, config.agent, config.run.seed)


EXPERIMENTS = {
    "full_body_tracker": Experiment("tracker", {"agent": PPOConfig, "model": ModelConfig}, train_ppo),
    "masked_mimic": Experiment("masked_mimic", {"agent": MaskedMimicConfig}, train_masked_mimic),
}
"""Core's own, by the first part of their presets' names."""


def build_policy(
    kind: str, config: Mapping[str, Any], obs_shapes: Mapping[str, Sequence[int]], num_joints: int
) -> Policy:
    """A policy of a checkpoint's shape, its weights and robot facts still to be loaded."""
    unknown = torch.zeros(num_joints)
    if kind == "masked_mimic":
        return MaskedMimic(obs_shapes, unknown, from_dict({"agent": MaskedMimicConfig}, config).agent, unknown)
    return ActorCritic(obs_shapes, unknown, from_dict({"model": ModelConfig}, config).model, unknown, unknown)


def load_policy(path: str | Path, device: torch.device | str = "cpu", robot: str | None = None) -> LoadedPolicy:
    """The policy of a run folder, a checkpoint or a release, without gradients.

    Args:
        robot: the robot that it has to be for.

    Raises:
        UserError: missing, damaged, of another format, shape or robot.
    """
    saved = load(path, device)
    if robot is not None and saved.robot != robot:
        raise UserError(f"{path} drives the robot {saved.robot}, not {robot}", f"Take --robot {saved.robot}")
    parts = (saved.kind, saved.config, saved.obs_shapes, len(saved.joint_names))
    try:
        with torch.device("meta"):  # what does not fit its weights may be of any size
            check_weights(build_policy(*parts), saved, Path(path))
        policy = build_policy(*parts)
    except UserError as error:
        problem = error.problem if str(path) in error.problem else f"{path}: {error.problem}"
        raise UserError(problem, error.remedy) from error
    policy.load_state_dict(saved.model)
    policy.to(device).eval().requires_grad_(False)
    return LoadedPolicy(policy, saved, Path(path))
