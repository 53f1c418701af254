"""A policy as one graph from raw measurements to joint targets. Needs torch and core."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from protege.core import observations
from protege.core.env import Obs
from protege.core.learning.learner import Policy
from protege.core.learning.masked_mimic import PRIOR_TOKENS, MaskedMimic
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState, Snapshot
from protege.core.tasks import modalities

from ..policy.tensors import REFERENCE, input_specs, output_specs
from .modalities import command_inputs, command_mask


class StudentGraph(nn.Module):
    """Raw inputs -> joint targets: kinematics, core's observations, the policy's mean action, the default pose.

    The inputs are those of `specs`, in this order, batched; a modality that is not commanded may hold anything finite.
    Returns joint_target (N, J) rad and, if the policy reads a history, next_history (N, H, P).

    Args:
        policy: of any kind; only what acts gets into the graph.
        obs_shapes: the observations that it was built for.
        robot: what it drives.
    """

    action_scale: Tensor
    default_joint_pos: Tensor

    def __init__(self, policy: Policy, obs_shapes: Mapping[str, list[int]], robot: Robot) -> None:
        super().__init__()
        tokens = PRIOR_TOKENS if isinstance(policy, MaskedMimic) else policy.actor_tokens
        reference = [name for name in REFERENCE if name in policy.obs_keys]
        self.policy, self.kinematics = policy, Kinematics(robot)
        self.modalities = command_inputs(tokens, obs_shapes)
        commands = [spec for specs in self.modalities.values() for spec in specs]
        commands += [command_mask(self.modalities)] if commands else []
        self.specs = input_specs(tokens, commands, obs_shapes, robot.num_bodies, robot.num_joints, reference=reference)
        self.outputs = output_specs(self.specs, robot.num_joints)
        self.register_buffer("action_scale", robot.action_scale())
        self.register_buffer("default_joint_pos", robot.default_pose())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = {spec.name: tensor for spec, tensor in zip(self.specs, inputs, strict=True)}
        obs = self.observe(given)
        mean, _ = self.policy.distribution(obs)
        target = self.default_joint_pos + self.action_scale * mean
        if "history" not in given:
            return (target,)
        return target, torch.cat([obs["proprioception"].unsqueeze(1), obs["history"][:, :-1]], dim=1)

    def observe(self, given: Mapping[str, Tensor]) -> Obs:
        """The policy's observations, (N, ...) each, of inputs by name (N, ...), by the environment's own functions."""
        state = self.state(given)
        obs = {"proprioception": observations.proprioception(state)}
        if "history" in given:
            begins = given["reset"][:, None, None]
            obs["history"] = torch.where(begins, obs["proprioception"].unsqueeze(1), given["history"])
        if "command_mask" in given:
            obs |= self._commands(state, given)
        if "target_body_pos_w" in given:
            obs["poses"] = observations.poses(state, given["target_body_pos_w"], given["target_body_quat_w"])
        return obs | {name: given[name] for name in ("pose_mask", *REFERENCE) if name in given}

    def state(self, given: Mapping[str, Tensor]) -> RobotState:
        """The robot's state; of the velocities only the root's, no observation takes the others."""
        quat = R.normalize(given["root_quat_w"])
        body_pos_w, body_quat_w = self.kinematics(given["root_pos_w"], quat, given["joint_pos"])
        return Snapshot(
            joint_pos=given["joint_pos"],
            joint_vel=given["joint_vel"],
            body_pos_w=body_pos_w,
            body_quat_w=body_quat_w,
            body_lin_vel_w=given["root_lin_vel_w"].unsqueeze(1),
            body_ang_vel_w=given["root_ang_vel_w"].unsqueeze(1),
        )

    def _commands(self, state: RobotState, given: Mapping[str, Tensor]) -> Obs:
        """Each modality that the policy reads, zero where it is not commanded, and where it is: the columns of `command_mask`."""
        obs: Obs = {}
        for (name, read), mask in zip(self.modalities.items(), given["command_mask"].unbind(dim=1), strict=True):
            if read:
                obs |= {name: modalities()[name].observe_where(mask, state, given), f"{name}_mask": mask}
        return obs
