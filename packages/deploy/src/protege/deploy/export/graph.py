"""A policy as one graph from raw measurements to joint targets. Needs torch and core."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from protege.core import observations
from protege.core.env import Obs
from protege.core.learning.learner import Policy
from protege.core.learning.masked_mimic import PRIOR_TOKENS, MaskedMimic
from protege.core.learning.tokens import ONBOARD_TOKENS
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState, Snapshot
from protege.core.tasks import modalities

from ..policy.metadata import TensorSpec
from ..policy.tensors import REFERENCE_INPUTS, in_heading, input_specs, output_specs
from .modalities import command_inputs, command_mask


class StudentGraph(nn.Module):
    """Raw inputs -> joint targets: kinematics, core's observations, the policy's mean action, the default pose.

    The inputs are those of `specs`, in this order, batched; a modality that is not commanded may hold any finite values.
    Returns joint_target (N, J) rad and then, as far as the policy has them, next_last_action (N, J) and next_history (N, H, P).

    With onboard sensors commands are in the heading frame. For core's functions this is the world frame, with the robot at the
    origin and heading along x.

    Args:
        policy: of any kind; only the parts that act are exported.
        obs_shapes: shapes of the observations that it was built for.
        robot: the robot that it controls.
    """

    action_scale: Tensor
    default_joint_pos: Tensor

    def __init__(self, policy: Policy, obs_shapes: Mapping[str, list[int]], robot: Robot) -> None:
        super().__init__()
        read = PRIOR_TOKENS if isinstance(policy, MaskedMimic) else policy.actor_tokens
        self.onboard = policy.sensors == observations.ONBOARD
        names = {onboard: name for name, onboard in ONBOARD_TOKENS.items()}
        tokens = [names.get(name, name) for name in read]
        reference = [name for name in REFERENCE_INPUTS if name in policy.obs_keys]
        self.policy, self.kinematics = policy, Kinematics(robot)
        self.modalities = command_inputs(tokens, obs_shapes)
        commands = [spec for specs in self.modalities.values() for spec in specs]
        commands += [command_mask(self.modalities)] if commands else []
        sizes = robot.num_bodies, robot.num_joints
        self.specs = input_specs(tokens, commands, obs_shapes, *sizes, reference=reference, onboard=self.onboard)
        self.outputs = output_specs(self.specs, robot.num_joints)
        self.register_buffer("action_scale", robot.action_scale())
        self.register_buffer("default_joint_pos", robot.default_pose())

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        given = {spec.name: tensor for spec, tensor in zip(self.specs, inputs, strict=True)}
        obs = self.observe(given)
        mean, _ = self.policy.distribution(obs)
        outputs = [self.default_joint_pos + self.action_scale * mean]
        if "last_action" in given:
            outputs.append(mean)
        if "history" in given:
            proprioception, history = (obs[self._name(name)] for name in ("proprioception", "history"))
            outputs.append(torch.cat([proprioception.unsqueeze(1), history[:, :-1]], dim=1))
        return tuple(outputs)

    def observe(self, given: Mapping[str, Tensor]) -> Obs:
        """The policy's observations, (N, ...) each, from inputs by name (N, ...), computed by the env's own functions."""
        state = self.state(given)
        proprioception = self.proprioception(given, state)
        obs = {self._name("proprioception"): proprioception}
        if "history" in given:
            begins = given["reset"][:, None, None]
            obs[self._name("history")] = torch.where(begins, proprioception.unsqueeze(1), given["history"])
        # Core's functions read inputs of the heading frame by the names of the world frame.
        world = {f"{name.removesuffix('_h')}_w": x for name, x in given.items() if name.endswith("_h")} | dict(given)
        if "command_mask" in given:
            obs |= self._commands(state, world)
        if "target_body_pos_w" in world:
            observe = observations.onboard_poses if self.onboard else observations.poses
            obs[self._name("poses")] = observe(state, world["target_body_pos_w"], world["target_body_quat_w"])
        return obs | {name: given[name] for name in ("pose_mask", *REFERENCE_INPUTS) if name in given}

    def proprioception(self, given: Mapping[str, Tensor], state: RobotState) -> Tensor:
        """The present proprioception, (N, P): `observations.proprioception` of the state, or `observations.onboard`."""
        if not self.onboard:
            return observations.proprioception(state)
        last = torch.where(given["reset"].unsqueeze(1), torch.zeros_like(given["last_action"]), given["last_action"])
        quat, joints = R.normalize(given["imu_quat"]), (given["joint_pos"], given["joint_vel"])
        return observations.onboard(quat, given["imu_ang_vel"], *joints, self.default_joint_pos, last)

    def exported(self, specs: Sequence[TensorSpec]) -> list[TensorSpec]:
        """Inputs of a modality as the exported model takes them: in the world frame or, with onboard sensors, the heading frame."""
        return [in_heading(spec) for spec in specs] if self.onboard else list(specs)

    def _name(self, name: str) -> str:
        """The name of an observation with the policy's sensors."""
        return ONBOARD_TOKENS[name] if self.onboard else name

    def state(self, given: Mapping[str, Tensor]) -> RobotState:
        """The robot's state, with velocities of the root only, since no observation reads the others.

        With onboard sensors it has one body, in the heading frame.
        """
        if self.onboard:
            origin = torch.zeros_like(given["imu_ang_vel"]).unsqueeze(1)
            ahead = torch.cat([origin[..., :1] + 1.0, origin], dim=-1)
            return Snapshot(given["joint_pos"], given["joint_vel"], origin, ahead, origin, origin)
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
        """Observation and mask of each modality that the policy reads; the observation is zero where the mask is False."""
        obs: Obs = {}
        for (name, read), mask in zip(self.modalities.items(), given["command_mask"].unbind(dim=1), strict=True):
            if read:
                obs |= {name: modalities()[name].observe_where(mask, state, given), f"{name}_mask": mask}
        return obs
