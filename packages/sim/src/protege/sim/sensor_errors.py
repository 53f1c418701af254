"""Sensor errors: noise that is drawn every control step, and biases that last for an episode."""

from typing import ClassVar

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .env_config import BiasParams, NoiseParams
from .references.plans import uniform
from .references.rows import assign_where
from .strength import eased


class SensorBias:
    """Sensor errors that stay the same for a whole episode.

    Attributes:
        joint_offset: (n, J) rad, added to the measured angles.
        height_offset: (n,) m, added to the measured height of the root.
    """

    saved_state: ClassVar = ("joint_offset", "height_offset")

    def __init__(
        self, params: BiasParams, robot: Robot, n: int, generator: torch.Generator, strength: Tensor | None = None
    ) -> None:
        self.params, self.generator, self.strength, device = params, generator, strength, generator.device
        self.lin_vel_scale = torch.tensor(params.lin_vel_scale, device=device)
        self.kinematics = Kinematics(robot).to(device)
        self.joint_offset = torch.zeros(n, robot.num_joints, device=device)
        self.height_offset = torch.zeros(n, device=device)

    def restart(self, mask: Tensor) -> None:
        """Draw new errors where mask (n,) is True."""
        most = self.params.joint_pos
        joints = uniform(tuple(self.joint_offset.shape), -most, most, self.generator)
        height = uniform(mask.shape, *self.params.root_height, self.generator)
        assign_where(self.joint_offset, mask, eased(joints, 0.0, self.strength))
        assign_where(self.height_offset, mask, eased(height, 0.0, self.strength))

    def measured(self, state: RobotState) -> RobotState:
        """The measured state, (n, ...)."""
        root = state.root_pos_w.clone()
        root[:, 2] += self.height_offset
        joint_pos = state.joint_pos + self.joint_offset
        lin_vel = eased(self.lin_vel_scale, 1.0, self.strength) * state.root_lin_vel_w
        seen = (state.root_quat_w, lin_vel, state.root_ang_vel_w, joint_pos, state.joint_vel)
        return self.kinematics.state(root, *seen)


class SensorNoise:
    """Gaussian noise on measurements, drawn every control step. The poses of all bodies follow from the noisy joints."""

    def __init__(
        self, params: NoiseParams, robot: Robot, n: int, generator: torch.Generator, strength: Tensor | None = None
    ) -> None:
        self.strength = strength
        self.generator, self.kinematics = generator, Kinematics(robot).to(generator.device)
        self.sizes = [robot.num_joints, robot.num_joints, 3, 3, 3]
        deviations = [
            params.joint_pos,
            params.joint_vel,
            params.root_rotation,
            params.root_lin_vel,
            params.root_ang_vel,
        ]
        parts = [torch.full((size,), x) for size, x in zip(self.sizes, deviations, strict=True)]
        self.deviation = torch.cat(parts).to(generator.device)
        self.noise = torch.zeros(n, sum(self.sizes), device=generator.device)

    def advance(self) -> None:
        """Draw the noise of the next control step."""
        self.noise.normal_(generator=self.generator).mul_(eased(self.deviation, 0.0, self.strength))

    def measured(self, state: RobotState) -> RobotState:
        """The measured state, (n, ...)."""
        joint_pos, joint_vel, turn, lin_vel, ang_vel = self.noise.split(self.sizes, dim=1)
        return self.kinematics.state(
            state.root_pos_w,
            R.multiply(R.from_rotation_vector(turn), state.root_quat_w),
            state.root_lin_vel_w + lin_vel,
            state.root_ang_vel_w + ang_vel,
            state.joint_pos + joint_pos,
            state.joint_vel + joint_vel,
        )
