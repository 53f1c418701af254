"""A simulator of another package: no physics, joints are always at their targets."""

from typing import Any

import torch
from torch import Tensor

from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.sim.references.rows import assign_where
from protege.sim.simulators.simulator import Variation


class ToySimulator:
    """Implements `Simulator`: roots stay where they are put."""

    def __init__(self, robot: Robot, num_envs: int, device: str = "cpu", num_threads: int = 0, **_: Any) -> None:
        self.robot, self.num_envs, self.device, self.terrain = robot, num_envs, torch.device(device), None
        self.kinematics = Kinematics(robot)
        pos, quat = torch.zeros(num_envs, 3), torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(num_envs, 1)
        joints = robot.default_pose().repeat(num_envs, 1)
        still = torch.zeros_like(pos)
        self.state = self.kinematics.state(pos, quat, still, still, joints, torch.zeros_like(joints))

    def step(self, joint_target: Tensor) -> Tensor:
        s, everywhere = self.state, torch.ones(self.num_envs, dtype=torch.bool)
        still = torch.zeros_like(s.root_pos_w)
        start = self.kinematics.state(
            s.root_pos_w, s.root_quat_w, still, still, joint_target, torch.zeros_like(s.joint_vel)
        )
        self.write(everywhere, start)
        return ~everywhere

    def write(self, mask: Tensor, target: RobotState) -> None:
        for name, x in vars(self.state).items():
            assign_where(x, mask, getattr(target, name))

    def push(self, force_w: Tensor) -> None: ...

    def randomize(self, mask: Tensor, variation: Variation) -> None: ...

    def place(self, mask: Tensor, origin: Tensor) -> None: ...

    def contact_force_w(self) -> Tensor:
        return torch.zeros_like(self.state.body_pos_w)

    def state_dict(self) -> dict[str, Any]:
        return {name: x.clone() for name, x in vars(self.state).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, x in vars(self.state).items():
            x.copy_(state[name])

    def close(self) -> None: ...
