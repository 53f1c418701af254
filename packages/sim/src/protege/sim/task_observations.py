"""What the envs of several tasks see of what they are asked to do; simulated and imagined envs see it by these functions."""

from collections.abc import Sequence

import torch

from protege.core import observations
from protege.core.env import Obs
from protege.core.robots.state import RobotState
from protege.core.tasks import Modality

from .tasks.command import Command


def observe_command(command: Command, state: RobotState, shapes: Sequence[tuple[Modality, tuple[int, ...]]]) -> Obs:
    """Each modality as the envs of one command see it, and where they do, (n, ...). shapes: see `env.command_shapes`."""
    obs: Obs = {}
    inputs, none = command.inputs(), torch.zeros_like(command.step, dtype=torch.bool)
    for modality, shape in shapes:
        name, mask = modality.name, command.shown.get(modality.name)
        if mask is None:
            obs[name], obs[f"{name}_mask"] = none.new_zeros(len(none), *shape, dtype=torch.float32), none
        else:
            given = {spec.name: inputs[spec.name] for spec in modality.inputs(shape)}
            obs[name], obs[f"{name}_mask"] = modality.observe_where(mask, state, given), mask.clone()
    return obs


def observe_tasks(
    parts: Sequence[tuple[Command, RobotState]], shapes: Sequence[tuple[Modality, tuple[int, ...]]]
) -> Obs:
    """References and commands as seen from the robots, (N, ...): the envs of one task after those of the other."""
    seen: list[Obs] = []
    for command, state in parts:
        poses = observations.poses(state, *command.reference.future())
        joint_pos, joint_vel = command.reference.next_joints()
        reference = {"poses": poses, "reference_joint_pos": joint_pos, "reference_joint_vel": joint_vel}
        seen.append({**reference, "pose_mask": command.pose_mask.clone(), **observe_command(command, state, shapes)})
    return seen[0] if len(seen) == 1 else {key: torch.cat([part[key] for part in seen]) for key in seen[0]}
