"""When actions arrive, and how long the physics steps last: terms of the domain randomisation in a `StepwiseSimulator`."""

from typing import ClassVar

import torch
from torch import Tensor

from protege.core.delay import arriving, queued
from protege.core.robots.state import RobotState

from .factors import Quantity, scaled
from .references.plans import uniform
from .references.rows import assign_where
from .simulators.stepwise import StepwiseSimulator
from .strength import eased


class Delay:
    """Actions that arrive late, with one delay for the whole episode. The simulator holds delays and targets.

    Args:
        strength: of the delay, see `strength.eased`.
    """

    saved_state: ClassVar = StepwiseSimulator.saved_state

    def __init__(self, simulator: StepwiseSimulator, generator: torch.Generator, strength: Tensor | None) -> None:
        self.simulator, self.generator, self.strength = simulator, generator, strength
        self.delay, self.targets = simulator.delay, simulator.targets

    def restart(self, mask: Tensor, start: RobotState) -> None:
        """Draw new delays where mask (n,) is True. Until the first action arrives, the pose of the start (n, ...) is held."""
        low, high = self.simulator.bounds
        if low != high:
            assign_where(self.delay, mask, eased(uniform(mask.shape, low, high, self.generator), 0.0, self.strength))
        self.simulator.restart(mask, start)

    def arriving(self, sent: Tensor, substeps: int) -> Tensor:
        """The mean target of the control step in which these targets are sent, (n, J) rad both."""
        return arriving(queued(sent, self.targets), self.control_steps(substeps))

    def control_steps(self, substeps: int) -> Tensor:
        """The delays in control steps, (n,), if there are this many physics steps per control step; not whole numbers."""
        return self.simulator.late(substeps) / substeps


class PhysicsRate:
    """The physics steps per control step of all envs, each choice for `seconds` in turn; see `RandomizationParams`.

    Attributes:
        steps_done: () control steps, on the CPU, so that reading it does not wait for the device.
        ranges: see `Factors.ranges`: the duration of a physics step as a multiple of the robot's own; empty if it is always that.
    """

    saved_state: ClassVar = ("steps_done",)

    def __init__(self, simulator: StepwiseSimulator, seconds: float) -> None:
        self.simulator, own = simulator, simulator.robot.substeps
        self.steps = max(round(seconds / simulator.robot.control_dt), 1)
        self.steps_done = torch.zeros((), dtype=torch.long)
        ratios = [1.0, *(own / substeps for substeps in simulator.choices)]
        self._ratio = Quantity(["physics_step"], (min(ratios), max(ratios)), 1.0)
        self.ranges = dict.fromkeys(self._ratio.columns, self._ratio.bounds) if len(set(ratios)) > 1 else {}

    @property
    def substeps(self) -> int:
        """Physics steps of the next control step."""
        choices = self.simulator.choices
        return choices[int(self.steps_done) // self.steps % len(choices)]

    def act(self) -> None:
        """Begin a control step."""
        self.simulator.use(self.substeps)
        self.steps_done += 1

    def factor(self) -> Tensor:
        """The value of the factor in `ranges` in the next control step, scaled as in `Factors`, (n, 1)."""
        ratio = torch.full((self.simulator.num_envs, 1), self.simulator.robot.substeps / self.substeps)
        return scaled(ratio, self._ratio).to(self.simulator.device)
