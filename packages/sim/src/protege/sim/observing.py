"""Observations of the envs: their shapes, and the commands of all tasks at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

from protege.core import observations
from protege.core.env import Obs
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.tasks import Modality, tasks

from .env_config import EnvConfig
from .tasks.command import Command


def observation_shapes(
    robot: Robot, config: EnvConfig, sensors: str = observations.FULL_STATE
) -> dict[str, tuple[int, ...]]:
    """The shape of each observation of an env, by name.

    Args:
        sensors: one of `observations.SENSORS`; with onboard sensors, their observations are added to those of the full state.
    """
    k, b, j = len(config.future_frames), robot.num_bodies, robot.num_joints
    p, onboard_size = observations.proprioception_size(b, j), observations.onboard_size(j)
    onboard = {
        "onboard": (onboard_size,),
        "onboard_history": (config.history_steps, onboard_size),
        "onboard_poses": (k, b, observations.ONBOARD_POSE_FEATURES),
    }
    return {
        "proprioception": (p,),
        "history": (config.history_steps, p),
        "poses": (k, b, observations.POSE_FEATURES),
        "reference_joint_pos": (j,),
        "reference_joint_vel": (j,),
        "pose_mask": (k, b),
        **{modality.name: shape for modality, shape in command_shapes(config)},
        **{f"{modality.name}_mask": () for modality, _ in command_shapes(config)},
        **(onboard if sensors == observations.ONBOARD else {}),
    }


def command_shapes(config: EnvConfig) -> list[tuple[Modality, tuple[int, ...]]]:
    """All modalities, and the shapes of their observations."""
    found = [(task.modality, getattr(config, task.config_key)) for task in tasks().values()]
    return [(modality, tuple(modality.shape(params))) for modality, params in found if modality is not None]


def observe_commands(
    commands: Sequence[Command], state: RobotState, shapes: Sequence[tuple[Modality, tuple[int, ...]]]
) -> Obs:
    """The observation of each modality in the envs of some commands, and where it is shown, (N, ...).

    As in an exported policy, a modality is computed from the raw values of all envs, which are zero where none are given.

    Args:
        state: of all envs (N, ...): those of the first command, then those of the second one, ...
        shapes: see `command_shapes`.
    """
    obs: Obs = {}
    inputs = [command.inputs() for command in commands]
    rows = [len(command.step) for command in commands]
    none = state.joint_pos.new_zeros(sum(rows), dtype=torch.bool)

    def zeros(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        return none.new_zeros(len(none), *shape, dtype=dtype)

    def of_all(given: Sequence[Tensor | None], otherwise: Tensor) -> Tensor:
        return torch.cat([part if own is None else own for own, part in zip(given, otherwise.split(rows), strict=True)])

    for modality, shape in shapes:
        name, shown = modality.name, [command.shown.get(modality.name) for command in commands]
        if all(mask is None for mask in shown):
            obs[name], obs[f"{name}_mask"] = zeros(shape), none
            continue
        mask = of_all(shown, none)
        values = {
            spec.name: of_all([x.get(spec.name) for x in inputs], zeros(spec.shape, getattr(torch, spec.dtype)))
            for spec in modality.inputs(shape)
        }
        obs[name], obs[f"{name}_mask"] = modality.observe_where(mask, state, values), mask
    return obs


def observe_tasks(
    commands: Sequence[Command],
    state: RobotState,
    shapes: Sequence[tuple[Modality, tuple[int, ...]]],
    *,
    onboard: bool = False,
) -> Obs:
    """References and commands as the robots observe them, (N, ...); simulated and imagined envs both use this function.

    Args:
        state, shapes: see `observe_commands`.
        onboard: also observe the references relative to robots that do not know their position.
    """
    targets = [(*c.reference.future(), *c.reference.next_joints(), c.pose_mask) for c in commands]
    pos, quat, joint_pos, joint_vel, pose_mask = map(joined, zip(*targets, strict=True))
    obs = {
        "poses": observations.poses(state, pos, quat),
        "reference_joint_pos": joint_pos,
        "reference_joint_vel": joint_vel,
        "pose_mask": pose_mask.clone(),
        **observe_commands(commands, state, shapes),
    }
    if onboard:
        floors = [c.reference.floor for c in commands]
        if any(floor is not None for floor in floors):  # heights of targets are measured from the ground
            pos = joined([x if f is None else f.above(x) for f, (x, *_) in zip(floors, targets, strict=True)])
        obs["onboard_poses"] = observations.onboard_poses(state, pos, quat)
    return obs


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The rows of all tasks, (n, ...) each -> (N, ...); with a single task, its own tensor."""
    return parts[0] if len(parts) == 1 else torch.cat([*parts])
