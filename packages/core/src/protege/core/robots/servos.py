"""What a policy has to know of the joints that it drives."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .robot import Robot


@dataclass(frozen=True)
class Servos:
    """The J position servos of a robot, as a policy's actions move them. All (J,) float32.

    An action of 0 holds the default pose; an action of 1 asks for a target that is `action_scale` away from it.

    Attributes:
        action_scale: rad.
        action_bound: how far mean actions may go before `bounds_loss` pulls them back, in units of the scale.
        default_joint_pos: rad.
        damping_time: damping over stiffness, s: a target that runs ahead by so much is followed without lag.
        log_std: log of the deviation with which policies explore, in units of the scale.
    """

    action_scale: Tensor
    action_bound: Tensor
    default_joint_pos: Tensor
    damping_time: Tensor
    log_std: Tensor

    @classmethod
    def of(cls, robot: Robot) -> "Servos":
        """The servos of a robot.

        A target is bounded where it has no more effect: at the further limit of its joint, or where the servo, held at the
        default pose, would ask for the largest torque. Soft servos carry a robot by targets that are beyond a limit.
        """
        reach = (robot.joint_range() - robot.default_pose().unsqueeze(1)).abs().amax(dim=1)
        strongest = torch.tensor([x.effort_limit / x.stiffness for x in robot.joints], dtype=torch.float32)
        scale = robot.action_scale()
        return cls(
            action_scale=scale,
            action_bound=torch.maximum(reach, strongest) / scale,
            default_joint_pos=robot.default_pose(),
            damping_time=robot.damping_time(),
            log_std=torch.tensor([x.log_std for x in robot.joints], dtype=torch.float32),
        )

    @classmethod
    def unknown(cls, num_joints: int) -> "Servos":
        """Of a policy whose weights, and with them what it knows of its servos, are still to be loaded."""
        one, zero = torch.ones(num_joints), torch.zeros(num_joints)
        return cls(one, one, zero, zero, zero)
