"""Simulators that advance one physics step at a time: actions arrive in any physics step, and the physics changes its rate."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from protege.core.delay import in_effect, queued, whole_steps
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from ..references.rows import assign_where
from .simulator import RetimedSimulator, Simulator, Variation


def stepwise(robot: Robot) -> Robot:
    """The robot with control steps as short as its physics steps, for the simulator inside a `StepwiseSimulator`."""
    return replace(robot, control_dt=robot.physics_dt)


class StepwiseSimulator:
    """Implements `Simulator` by another one, which it advances one physics step at a time.

    Each env has a delay of its own. All envs share the number of physics steps per control step: they advance together, and a GPU
    would wait for the env with the most steps.

    Args:
        simulator: of `stepwise(robot)`; a `RetimedSimulator` if there are `choices`.
        robot: the robot as its policy sees it.
        delay: shortest and longest delay of the targets, s, rounded to whole physics steps.
        choices: the numbers of physics steps per control step that `use` may be given; empty for the robot's own.

    Attributes:
        delay: (N,) s, 64-bit floats, so that they are rounded as Python rounds.
        targets: (N, D, J) rad, the last targets, newest first; D is the number that the longest delay needs.
        substeps: physics steps per control step.
    """

    saved_state: ClassVar[tuple[str, ...]] = ("delay", "targets")

    def __init__(
        self, simulator: Simulator, robot: Robot, delay: tuple[float, float] = (0.0, 0.0), choices: Sequence[int] = ()
    ) -> None:
        self.simulator, self.robot, self.bounds, self.choices = simulator, robot, delay, tuple(choices)
        self.state, self.substeps = simulator.state, robot.substeps
        self.num_envs, self.device, self.terrain = simulator.num_envs, simulator.device, simulator.terrain
        self.delay = torch.full((self.num_envs,), delay[0], dtype=torch.float64, device=self.device)
        longest = torch.tensor(delay[1], dtype=torch.float64)
        queues = [-(-int(whole_steps(longest, robot.control_dt / n)) // n) for n in self.choices or (robot.substeps,)]
        self.targets = robot.default_pose(self.device).repeat(self.num_envs, max(queues), 1)

    def use(self, substeps: int) -> None:
        """Make all further control steps of this number of physics steps. The robots' states do not change."""
        if substeps != self.substeps:
            self.substeps = substeps
            cast(RetimedSimulator, self.simulator).set_physics_dt(self.robot.control_dt / substeps)

    def late(self, substeps: int) -> Tensor:
        """The delay of each env in physics steps, (N,), if there are this many per control step."""
        return whole_steps(self.delay, self.robot.control_dt / substeps)

    def step(self, joint_target: Tensor) -> Tensor:
        queue, late = queued(joint_target, self.targets), self.late(self.substeps)
        wrong = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        for substep in range(self.substeps):
            wrong |= self.simulator.step(in_effect(queue, late, substep, self.substeps))
        self.targets.copy_(queue[:, :-1])
        return wrong

    def restart(self, mask: Tensor, start: RobotState) -> None:
        """Where mask (N,) is True, hold the pose of the start (N, ...) until the first action arrives."""
        assign_where(self.targets, mask, start.joint_pos.unsqueeze(1))

    def write(self, mask: Tensor, target: RobotState) -> None:
        self.simulator.write(mask, target)

    def push(self, force_w: Tensor) -> None:
        self.simulator.push(force_w)

    def randomize(self, mask: Tensor, variation: Variation) -> None:
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
