"""Joint data that a policy needs to convert actions to targets."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .robot import Robot


@dataclass(frozen=True)
class Servos:
    """The J position servos of a robot and their action units. All (J,) float32.

    An action of 0 is the default pose; an action of 1 is a target at distance `action_scale` from it.

    Attributes:
        action_scale: rad.
        action_bound: magnitude of mean actions above which `bounds_loss` penalises them, in units of the scale.
        default_joint_pos: rad.
        damping_time: damping over stiffness, s: a target that leads the reference by this time is tracked without lag.
        log_std: log of the standard deviation of actions in training, in units of the scale.
    """

    action_scale: Tensor
    action_bound: Tensor
    default_joint_pos: Tensor
    damping_time: Tensor
    log_std: Tensor

    @classmethod
    def of(cls, robot: Robot) -> "Servos":
        """The servos of a robot.

        Targets are bounded where they have no further effect: at the joint's limit, or where the servo reaches its effort limit at
        the default pose, whichever is further. Soft servos need targets beyond the joints' limits to carry the robot.
        """
        reach = (robot.joint_range() - robot.default_pose().unsqueeze(1)).abs().amax(dim=1)
        at_effort_limit = torch.tensor([x.effort_limit / x.stiffness for x in robot.joints], dtype=torch.float32)
        scale = robot.action_scale()
        return cls(
            action_scale=scale,
            action_bound=torch.maximum(reach, at_effort_limit) / scale,
            default_joint_pos=robot.default_pose(),
            damping_time=robot.damping_time(),
            log_std=torch.tensor([x.log_std for x in robot.joints], dtype=torch.float32),
        )

    @classmethod
    def unknown(cls, num_joints: int) -> "Servos":
        """Placeholders for a policy whose weights, which include the servos' values, are loaded later."""
        one, zero = torch.ones(num_joints), torch.zeros(num_joints)
        return cls(one, one, zero, zero, zero)
