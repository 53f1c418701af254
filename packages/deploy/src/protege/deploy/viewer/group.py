"""The simulations of a page: one whose student can be switched, or one for each student, side by side."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DeployError
from ..geometry import yaw
from ..policy.metadata import Metadata
from .conditions import Conditions
from .ground import Ground
from .simulation import RESET_SECONDS, Simulation

LANE = 1.2  # m between robots side by side, each to the right of the one before


class Group:
    """Gives every order, push and condition to all of its simulations.

    Each robot has its own physics and its own control loop, so robots cannot touch. They keep the same simulated time: after each
    step a simulation waits for those that are behind. Side by side, a robot that fell lies until all have fallen or the page resets
    them: otherwise it would start again far behind.

    Args:
        students: exports by name.
        standing: start at rest instead of in motion.
        together: simulate all students at once, not one of them.

    Attributes:
        simulations: one, or one for each student.
        lead: the first simulation, whose robot the camera follows and the page's controls show.

    Raises:
        DeployError: an export that cannot be run.
    """

    def __init__(self, students: Mapping[str, Path], *, standing: bool = True, together: bool = False) -> None:
        sets = [{name: path} for name, path in students.items()] if together else [dict(students)]
        self.together = together
        self.simulations = [
            Simulation(x, standing=standing, sets_up=not together, lane=-LANE * index) for index, x in enumerate(sets)
        ]
        self.lead = self.simulations[0]
        for simulation in self.simulations:
            simulation.is_ahead = partial(self._is_ahead, simulation)

    def start(self) -> None:
        """Start all simulations."""
        for simulation in self.simulations:
            simulation.start()

    def close(self) -> None:
        """Stop all simulations, and wait for their threads."""
        for simulation in self.simulations:
            simulation.close()

    def check(self) -> None:
        """Raise the exception that ended a simulation, if one did; side by side, set all robots up once all have fallen."""
        for simulation in self.simulations:
            if simulation.error is not None:
                raise simulation.error
        if self.together and all(simulation.lying_seconds > RESET_SECONDS for simulation in self.simulations):
            self.reset()

    @property
    def metadata(self) -> Metadata:
        """Of the lead's student."""
        return self.lead.metadata

    @property
    def names(self) -> list[str]:
        """The students that act, the lead's first."""
        return [simulation.student for simulation in self.simulations]

    @property
    def actors(self) -> list[tuple[str, Ground]]:
        """Each simulation's student and ground."""
        return [(simulation.student, simulation.ground) for simulation in self.simulations]

    # Requests of the page -------------------------------------------------------------------------------------------------------

    def order(self, order: Mapping[str, Any]) -> None:
        """Send an order to all.

        Raises:
            DeployError: it is invalid, or a student does not take it. The others follow it nevertheless.
        """
        self._all(lambda simulation: simulation.order(order))

    def push(self, force: float, degrees: float) -> None:
        """Push each root for 0.2 s: newton, degrees to the left of the robot's heading."""
        for simulation in self.simulations:
            if simulation.frame is not None:
                simulation.push(force, float(np.degrees(yaw(simulation.frame.body_quat_w[0]))) + degrees)

    def reset(self) -> None:
        """Start all again at their origins."""
        for simulation in self.simulations:
            simulation.reset()

    def show_ghost(self, clip: str) -> None:
        """Show a clip beside the lead, see `Simulation.show_ghost`."""
        self.lead.show_ghost(clip)

    def set_conditions(self, conditions: Conditions) -> None:
        """Change what is different about robots and floor."""
        for simulation in self.simulations:
            simulation.conditions = conditions

    def set_ground(self, kind: str) -> None:
        """Start all again, on this ground.

        Raises:
            DeployError: there is no such ground.
        """
        for simulation in self.simulations:
            simulation.set_ground(kind)

    def show_contacts(self, shown: bool) -> None:
        """Show contact forces, or not."""
        for simulation in self.simulations:
            simulation.shows_contacts = shown

    def show_reference(self, shown: bool) -> None:
        """Show a ghost of the commanded poses, or not."""
        for simulation in self.simulations:
            simulation.shows_reference = shown

    @property
    def paused(self) -> bool:
        """Whether time stands still."""
        return self.lead.playback.paused

    def pause(self, paused: bool) -> None:
        """Pause or resume."""
        for simulation in self.simulations:
            simulation.playback.pause(paused)

    def step(self) -> None:
        """Pause after one more control step of each."""
        for simulation in self.simulations:
            simulation.playback.step()

    def set_time_rate(self, rate: float) -> None:
        """Simulated seconds in a real second, above 0 and at most 1."""
        for simulation in self.simulations:
            simulation.playback.speed = rate

    def _is_ahead(self, one: Simulation) -> bool:
        """Whether another simulation has simulated less time."""
        now = 0.0 if one.frame is None else one.frame.time
        others = (other.frame for other in self.simulations if other is not one)
        return any(now > (0.0 if frame is None else frame.time) for frame in others)

    def _all(self, act: Callable[[Simulation], None]) -> None:
        """Run `act` on each simulation. An error says whose it is, if there are several."""
        errors = dict[str, DeployError]()
        for simulation in self.simulations:
            try:
                act(simulation)
            except DeployError as error:
                errors[simulation.student] = error
        messages = {error.message for error in errors.values()}
        if len(errors) == len(self.simulations) and len(messages) == 1:
            raise next(iter(errors.values()))
        if errors:
            raise DeployError("; ".join(f"{name}: {error.message}" for name, error in errors.items()))
