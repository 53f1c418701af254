"""Loads policies from checkpoints."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ..env import Env
from ..errors import UserError
from ..learning.learner import Policy
from ..learning.masked_mimic import MaskedMimic, VariationalConfig
from ..learning.policy import ActorCritic, ModelConfig
from ..robots.servos import Servos
from .checkpoint import ZOO, Checkpoint, load
from .config import from_dict
from .resuming import check_robot, weights_digest
from .training_state import check_weights, critic_missing, load_weights


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy that is ready to act, and its checkpoint."""

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
        """SHA-256 of the weights in the checkpoint; see `resuming.weights_digest`."""
        return weights_digest(self.checkpoint.model)

    @property
    def obs_shapes(self) -> dict[str, list[int]]:
        return self.checkpoint.obs_shapes


def build_policy(
    kind: str, config: Mapping[str, Any], obs_shapes: Mapping[str, Sequence[int]], num_joints: int
) -> Policy:
    """Build a policy with a checkpoint's shapes. Its weights and servo values must be loaded afterwards."""
    unknown = Servos.unknown(num_joints)
    if kind == "masked_mimic":
        return MaskedMimic(obs_shapes, unknown, from_dict({"agent": VariationalConfig}, _sizes(config)).agent)
    return ActorCritic(obs_shapes, unknown, from_dict({"model": ModelConfig}, config).model)


def _sizes(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A MaskedMimic's config without the settings of a particular training algorithm."""
    agent, own = config.get("agent"), {field.name for field in fields(VariationalConfig)}
    return {**config, "agent": {x: y for x, y in agent.items() if x in own}} if isinstance(agent, Mapping) else config


def load_policy(path: str | Path, device: torch.device | str = "cpu", robot: str | None = None) -> LoadedPolicy:
    """Load the policy of a run folder, a checkpoint or a release, without gradients.

    Args:
        robot: the required robot; None for any.

    Raises:
        UserError: the file is missing or damaged, or has another format, shape or robot.
    """
    saved = load(path, device)
    if robot is not None and saved.robot != robot:
        raise UserError(f"{path} drives the robot {saved.robot}, not {robot}", f"Take --robot {saved.robot}")
    parts = (saved.kind, saved.config, saved.obs_shapes, len(saved.joint_names))
    try:
        with torch.device("meta"):  # before allocating memory: an invalid config may have any size
            check_weights(build_policy(*parts), saved, Path(path))
        policy = build_policy(*parts)
    except UserError as error:
        problem = error.problem if str(path) in error.problem else f"{path}: {error.problem}"
        raise UserError(problem, error.remedy) from error
    load_weights(policy, saved, Path(path))
    policy.to(device).eval().requires_grad_(False)
    return LoadedPolicy(policy, saved, Path(path))


def load_to_act(
    path: str | Path,
    env: Env,
    key: str,
    kinds: Sequence[str],
    *,
    no_critic: str | None = "Give the run that it is from",
    absent: str = "Train it first, or give the folder of another run",
    remedy: str = "Take the env config that it was trained with (env.history_steps, env.future_frames, ...)",
) -> LoadedPolicy:
    """Load an expert or a teacher, which acts or labels in an environment.

    Args:
        key: its config key, for the message.
        kinds: permitted kinds; see `Checkpoint.kind`.
        no_critic: remedy if it was released without its critic; None if its values are not needed.
        absent: remedy if `path` does not exist.
        remedy: remedy if its observations differ.

    Raises:
        UserError: names the key; see `load_policy`; or the policy has another kind, other joints, or observations that the
            environment does not provide.
    """
    try:
        loaded = load_policy(path, env.device, robot=env.robot.name)
        if loaded.kind not in kinds:
            raise UserError(f"{path} holds a {loaded.kind}, not a {' or a '.join(kinds)}", "Give the run of one")
        if no_critic is not None and critic_missing(loaded.policy, loaded.checkpoint):
            raise UserError(f"{path} was released without its critic, which its learners need", no_critic)
        check_robot(path, loaded.checkpoint, env.robot)
        check_observations(loaded, env, loaded.policy.obs_keys, remedy)
    except UserError as error:
        there = str(path).startswith(ZOO) or Path(path).exists()
        raise UserError(f"{key}: {error.problem}", error.remedy if there else absent) from error
    return loaded


def check_observations(loaded: LoadedPolicy, env: Env, names: Iterable[str], remedy: str) -> None:
    """Compare the observation shapes of a policy with those of an environment.

    Raises:
        UserError: a shape differs.
    """
    for name in names:
        trained, provided = (shapes.get(name) for shapes in (loaded.obs_shapes, env.obs_shapes))
        if trained is None or provided is None or tuple(trained) != tuple(provided):
            shape = "missing" if provided is None else tuple(provided)
            raise UserError(
                f"{loaded.path} learned with {name} of shape {tuple(trained or ())}, here it is {shape}", remedy
            )


def make_actor_critic(env: Env, config: ModelConfig) -> ActorCritic:
    """An untrained actor-critic on the environment's device."""
    return ActorCritic(env.obs_shapes, Servos.of(env.robot), config).to(env.device)
