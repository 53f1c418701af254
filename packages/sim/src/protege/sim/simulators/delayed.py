"""Actions that arrive late by whole physics steps, in any simulator."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from protege.core.delay import queued
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from ..references.rows import assign_where
from .simulator import Simulator


def stepwise(robot: Robot) -> Robot:
    """The robot with control steps as short as its physics steps, for the simulator inside a `DelayedSimulator`."""
    return replace(robot, control_dt=robot.physics_dt)


class DelayedSimulator:
    """Implements `Simulator` by another one, which it advances one physics step at a time.

    Args:
        simulator: of `stepwise(robot)`.
        robot: the robot as its policy sees it.
        delay: physics steps, 1 or more.

    Attributes:
        targets: (N, D, J) rad, the last targets, newest first.
    """

    saved_state: ClassVar[tuple[str, ...]] = ("targets",)

    def __init__(self, simulator: Simulator, robot: Robot, delay: int) -> None:
        self.simulator, self.robot, self.delay = simulator, robot, delay
        self.state = simulator.state
        self.num_envs, self.device, self.terrain = simulator.num_envs, simulator.device, simulator.terrain
        count = -(-delay // robot.substeps)
        self.targets = robot.default_pose(self.device).repeat(self.num_envs, count, 1)

    def step(self, joint_target: Tensor) -> Tensor:
        queue, substeps = queued(joint_target, self.targets), self.robot.substeps
        wrong = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        for substep in range(substeps):
            # The target that arrives in physics step k was sent at the start of the last control step that is `delay` steps old.
            age = -((substep - self.delay) // substeps)
            wrong |= self.simulator.step(queue[:, age])
        self.targets.copy_(queue[:, :-1])
        return wrong

    def restart(self, mask: Tensor, start: RobotState) -> None:
        """Where mask (N,) is True, hold the pose of the start (N, ...) until the first action arrives."""
        assign_where(self.targets, mask, start.joint_pos.unsqueeze(1))

    def write(self, mask: Tensor, target: RobotState) -> None:
        self.simulator.write(mask, target)

    def push(self, force_w: Tensor) -> None:
        self.simulator.push(force_w)

    def randomize(self, mask: Tensor, variation: Any) -> None:
        self.simulator.randomize(mask, variation)

    def place(self, mask: Tensor, origin: Tensor) -> None:
        self.simulator.place(mask, origin)

    def contact_force_w(self) -> Tensor:
        return self.simulator.contact_force_w()

    def state_dict(self) -> dict[str, Any]:
        return self.simulator.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.simulator.load_state_dict(state)

    def close(self) -> None:
        self.simulator.close()
