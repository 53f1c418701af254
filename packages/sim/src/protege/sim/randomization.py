"""Domain randomisation: differences and disturbances of envs, so that a policy does not rely on what it cannot measure.

The terms are those of Peng et al. 2018 (arXiv 1710.06537) and Tan et al. 2018 (arXiv 1804.10332). Each term is off unless
`env.randomization` enables it; a term that is off makes no draws. All tensors have fixed shapes and are changed in place.
"""

import math
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .env_config import BiasParams, RandomizationParams
from .factors import Factors
from .references.plans import uniform
from .references.rows import assign_where
from .sensor_errors import SensorBias, SensorNoise
from .simulators.simulator import Simulator, Variation
from .simulators.stepwise import StepwiseSimulator
from .strength import eased
from .timing import Delay, PhysicsRate


class Bodies:
    """Friction, masses, centres of mass and gains of n envs, drawn for each episode.

    Args:
        strength: of all terms, see `strength.eased`.

    Attributes:
        factors: the differences of the current envs, (n, F); see `Factors`.
    """

    saved_state: ClassVar = ("factors",)

    def __init__(
        self,
        params: RandomizationParams,
        robot: Robot,
        n: int,
        generator: torch.Generator,
        strength: Tensor | None = None,
    ) -> None:
        self.params, self.robot, self.n, self.generator, self.strength = params, robot, n, generator, strength
        reach = torch.full((robot.num_bodies, 1), params.com)
        reach[robot.body_names.index(robot.groups.torso)] = params.torso_com or params.com
        self.reach = reach.to(generator.device)
        self._table = Factors(params, robot, n, generator.device)
        self.ranges, self.factors = self._table.ranges, self._table.values

    def restart(self, mask: Tensor, simulator: Simulator) -> None:
        """Draw new bodies where mask (n,) is True."""
        drawn = self.draw()
        simulator.randomize(mask, drawn)
        assign_where(self.factors, mask, self._table.of(drawn))

    def draw(self) -> Variation:
        """Draw for all envs; None for terms that are off."""
        p, n, generator = self.params, self.n, self.generator
        bodies, joints, same = (n, self.robot.num_bodies), (n, self.robot.num_joints), (1.0, 1.0)

        def factor(shape: tuple[int, ...], bounds: tuple[float, float]) -> Tensor:
            return eased(uniform(shape, *bounds, generator), 1.0, self.strength)

        friction = factor((n,), p.friction) if p.friction != same else None
        mass = factor(bodies, p.mass) if p.mass != same else None
        com = gains = None
        if p.com or p.torso_com:
            com = eased(self.reach * uniform((*bodies, 3), -1.0, 1.0, generator), 0.0, self.strength)
        if (p.stiffness, p.damping, p.motors) != (same, same, same):
            gains = torch.stack([factor(joints, bounds) for bounds in (p.stiffness, p.damping)], dim=2)
            gains = gains if p.motors == same else gains * factor((n, 1, 1), p.motors)
        effort = factor(joints, p.effort) if p.effort != same else None
        contact_time = factor((n,), p.contact_time) if p.contact_time != same else None
        return Variation(friction, mass, com, gains, effort, contact_time)


class Pushes:
    """Occasional horizontal forces on the root, for `push_time` each.

    Attributes:
        wait: (n,) control steps until the next push, which lasts while this is not above zero.
        force_h: (n, 3) N, force of that push, in the heading frame.
    """

    saved_state: ClassVar = ("wait", "force_h")

    def __init__(
        self,
        params: RandomizationParams,
        robot: Robot,
        n: int,
        generator: torch.Generator,
        strength: Tensor | None = None,
    ) -> None:
        self.params, self.generator, self.strength, dt = params, generator, strength, robot.control_dt
        self.interval = (params.push_interval[0] / dt, params.push_interval[1] / dt)
        self.steps = max(round(params.push_time / dt), 1)
        self.wait = torch.zeros(n, dtype=torch.long, device=generator.device)
        self.force_h = torch.zeros(n, 3, device=generator.device)

    def restart(self, mask: Tensor) -> None:
        """Draw the next push where mask (n,) is True."""
        bounds = (self.params.push_force, self.params.push_angle, self.interval)
        size, angle, wait = (uniform(mask.shape, *pair, self.generator) for pair in bounds)
        size = eased(size, 0.0, self.strength)
        assign_where(self.wait, mask, wait.round().long())
        assign_where(
            self.force_h, mask, torch.stack([size * angle.cos(), size * angle.sin(), torch.zeros_like(size)], dim=1)
        )

    def advance(self) -> None:
        """Advance by one control step."""
        self.wait -= 1
        self.restart(self.wait <= -self.steps)

    def force_w(self, state: RobotState) -> Tensor:
        """The current pushes, (n, 3) N."""
        return R.rotate(R.heading(state.root_quat_w), self.force_h) * (self.wait <= 0).unsqueeze(1)


class VelocitySteps:
    """Occasional jumps of a robot's velocity: the whole robot becomes faster, and turns faster.

    Attributes:
        until: (n,) control steps until the next jump.
        velocity_w: (n, 3) m/s, velocity that is added then.
        turn_w: (n, 3) rad/s, angular velocity that is added then.
    """

    saved_state: ClassVar = ("until", "velocity_w", "turn_w")

    def __init__(
        self,
        params: RandomizationParams,
        robot: Robot,
        n: int,
        generator: torch.Generator,
        strength: Tensor | None = None,
    ) -> None:
        self.size, self.generator, self.strength, dt = params.velocity_step, generator, strength, robot.control_dt
        self.up, self.turn = params.velocity_step_up, params.velocity_step_turn
        self.interval = (params.velocity_step_interval[0] / dt, params.velocity_step_interval[1] / dt)
        self.until = torch.zeros(n, dtype=torch.long, device=generator.device)
        self.velocity_w, self.turn_w = torch.zeros(2, n, 3, device=generator.device)

    def restart(self, mask: Tensor) -> None:
        """Draw the next jump where mask (n,) is True."""
        bounds = (self.size, (-math.pi, math.pi), self.interval)
        size, angle, wait = (uniform(mask.shape, *pair, self.generator) for pair in bounds)
        up = uniform(mask.shape, -self.up, self.up, self.generator) if self.up else torch.zeros_like(size)
        assign_where(self.until, mask, wait.round().long())
        change = torch.stack([size * angle.cos(), size * angle.sin(), up], 1)
        assign_where(self.velocity_w, mask, eased(change, 0.0, self.strength))
        if self.turn:
            turn = uniform(self.turn_w.shape, -self.turn, self.turn, self.generator)
            assign_where(self.turn_w, mask, eased(turn, 0.0, self.strength))

    def advance(self) -> None:
        """Advance by one control step."""
        self.until -= 1
        self.restart(self.until < 0)

    @property
    def now(self) -> Tensor:
        """(n,) bool, whether the velocity changes before the next physics step."""
        return self.until <= 0

    def act(self, simulator: Simulator) -> None:
        """Change the velocities of the envs whose jump is due."""
        state = simulator.state
        # A simulator takes the root's velocities and those of the joints, and turns the other bodies with the root.
        faster = state.body_lin_vel_w + self.velocity_w.unsqueeze(1)
        turning = state.body_ang_vel_w + self.turn_w.unsqueeze(1)
        simulator.write(self.now, replace(state, body_lin_vel_w=faster, body_ang_vel_w=turning))


class Randomization:
    """The terms of an environment; None where they are off.

    Args:
        simulator: physics of the envs; made with `varied` if `params.varies_bodies`, and a `StepwiseSimulator` if actions are late
            or the physics rate changes.
        generator: the environment's generator.
    """

    def __init__(self, params: RandomizationParams, simulator: Simulator, generator: torch.Generator) -> None:
        self.simulator = simulator
        self.ramp = params.ramp
        self.strength = torch.zeros((), device=generator.device) if params.ramp else None
        common = simulator.robot, simulator.num_envs, generator, self.strength
        self.bodies = Bodies(params, *common) if params.varies_bodies else None
        self.pushes = Pushes(params, *common) if params.push_force[1] else None
        self.velocity_steps = VelocitySteps(params, *common) if params.steps_velocity else None
        self.bias = SensorBias(params.bias, *common) if params.bias != BiasParams() else None
        self.noise = SensorNoise(params.noise, *common) if any(vars(params.noise).values()) else None
        steps = simulator if isinstance(simulator, StepwiseSimulator) else None
        self.delay = Delay(steps, generator, self.strength) if steps and steps.bounds[1] else None
        self.rate = PhysicsRate(steps, params.physics_rate_time) if steps and steps.choices else None
        assert self.delay or not params.delay[1], "not made with a `StepwiseSimulator`"

    def set_progress(self, progress: float) -> None:
        """Set the strength of all terms by the spent share of the run's budget, 0 to 1; see `RandomizationParams.ramp`."""
        if self.strength is not None:
            self.strength.fill_(min(progress / self.ramp, 1.0))

    def act(self) -> None:
        """Before the physics: apply the pushes, and set the physics rate."""
        if self.rate:
            self.rate.act()
        if self.pushes:
            self.simulator.push(self.pushes.force_w(self.simulator.state))
        if self.velocity_steps:
            self.velocity_steps.act(self.simulator)

    def arriving(self, sent: Tensor) -> Tensor:
        """After `act`: the mean target of the control step in which these targets are sent, (N, J) rad both."""
        return self.delay.arriving(sent, self.delay.simulator.substeps) if self.delay else sent

    def advance(self) -> None:
        """After the physics: advance by one control step."""
        if self.pushes:
            self.pushes.advance()
        if self.velocity_steps:
            self.velocity_steps.advance()
        if self.noise:
            self.noise.advance()

    def restart(self, mask: Tensor, start: RobotState) -> None:
        """Draw for the episodes that begin where mask (N,) is True, before the envs are put into their start state (N, ...)."""
        if self.bodies:
            self.bodies.restart(mask, self.simulator)
        for term in (self.pushes, self.velocity_steps, self.bias):
            if term:
                term.restart(mask)
        if self.delay:
            self.delay.restart(mask, start)

    @property
    def factor_ranges(self) -> dict[str, tuple[float, float]]:
        """See `Factors.ranges` and `PhysicsRate.ranges`; empty where all envs are always alike."""
        return (self.bodies.ranges if self.bodies else {}) | (self.rate.ranges if self.rate else {})

    def rows(self) -> dict[str, Tensor]:
        """What distinguishes the next control step of these envs from that of others in the same state: `ImaginableEnv.rows`."""
        rows: dict[str, Tensor] = {}
        factors = [self.bodies.factors] if self.bodies else []
        factors += [self.rate.factor()] if self.rate and self.rate.ranges else []
        if factors:
            rows["factors"] = torch.cat(factors, dim=1)
        if self.delay:
            substeps = self.rate.substeps if self.rate else self.simulator.robot.substeps
            rows |= {"delay": self.delay.control_steps(substeps).float(), "sent": self.delay.targets}
        if (pushed := self.pushed) is not None:
            rows["pushed"] = pushed
        return rows

    @property
    def pushed(self) -> Tensor | None:
        """(N,) bool, whether a robot is pushed in the control step before the next `advance`; None if none ever is."""
        soon = [self.pushes.wait <= 0] if self.pushes else []
        soon += [self.velocity_steps.now] if self.velocity_steps else []
        return torch.stack(soon).any(0) if soon else None

    @property
    def misreads(self) -> bool:
        """Whether the sensors have errors."""
        return self.bias is not None or self.noise is not None

    def measured(self, state: RobotState) -> RobotState:
        """The observed state for a true state (N, ...); rewards, terminations and metrics use the true one."""
        for sensors in (self.bias, self.noise):
            state = sensors.measured(state) if sensors else state
        return state

    def state_dict(self) -> dict[str, Any]:
        return {name: x.clone() for name, x in self._saved_state.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, x in self._saved_state.items():
            x.copy_(state[name])

    @property
    def _saved_state(self) -> dict[str, Tensor]:
        """State that persists between steps. That of the bodies belongs to the simulator."""
        terms = (self.bodies, self.delay, self.rate, self.pushes, self.velocity_steps, self.bias)
        return {name: getattr(term, name) for term in terms if term for name in term.saved_state}
