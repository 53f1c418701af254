"""The table of factors of the robustness suite: what each changes, by how much, and when it cannot be varied.

Sizes follow the literature: DeepMimic's pushes (arXiv 1804.02717), the noise and velocity steps of BeyondMimic (arXiv 2508.08241),
and differences that were observed between simulators and robots.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import radians, sqrt
from typing import Any

from protege.core.observations import ONBOARD
from protege.core.robots.robot import Robot
from protege.core.tasks import tasks
from protege.sim.env_config import MismatchParams, push_test
from protege.sim.mismatch import delay_steps, mismatched
from protege.sim.motion_quality import GRAVITY

UNIFORM = 1.0 / sqrt(3.0)
"""Standard deviation of the uniform distribution on ±1; the noise of `env.randomization.noise` is normal."""


@dataclass(frozen=True)
class Situation:
    """The setup of a test: the robot, the policy's sensors, the simulator and the tasks."""

    robot: Robot
    sensors: str
    simulator: str
    tasks: tuple[str, ...]


Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """One way in which the conditions may differ from the nominal ones.

    Attributes:
        name: name on the command line and in robustness.json.
        title: name in reports.
        unit: unit of the values.
        nominal: robot -> the value without a change; for rates the robot's own.
        values: from mild to severe.
        changes: (value, robot) -> the changed values of the env config, by the name below `env`.
        together: the value when all factors differ at once; None leaves the factor out.
        task: the only task that it affects; empty for all.
        switch: the factor is either on or off.
        absent: situation -> the reason why it cannot be varied, as text; empty if it can.
        actual: (value, robot) -> the nearest value that the simulation can have.
        quick: the values of the quick suite; by default the first and the last of `values`.
    """

    name: str
    title: str
    unit: str
    nominal: Callable[[Robot], float]
    values: tuple[float, ...]
    changes: Callable[[float, Robot], Changes]
    together: float | None = None
    task: str = ""
    switch: bool = False
    absent: Callable[[Situation], str] = lambda situation: ""
    actual: Callable[[float, Robot], float] = lambda value, robot: value
    quick: tuple[float, ...] = ()

    def of(self, suite: str) -> tuple[float, ...]:
        """The values of a suite, `quick` or `full`."""
        return self.values if suite == "full" else self.quick or tuple(dict.fromkeys((self.values[0], self.values[-1])))


def constant(value: float) -> Callable[[Robot], float]:
    """A nominal value that all robots share."""
    return lambda robot: value


def set_value(name: str, make: Callable[[float], Any] = lambda value: value) -> Callable[[float, Robot], Changes]:
    """A change of one value of the env config."""
    return lambda value, robot: {name: make(value)}


def _needs_full_state(situation: Situation) -> str:
    return "the policy has onboard sensors, which do not measure it" if situation.sensors == ONBOARD else ""


def _needs_uneven_ground(situation: Situation) -> str:
    return "isaaclab has only a flat floor" if situation.simulator == "isaaclab" else ""


def _needs_ignored_self_collision(situation: Situation) -> str:
    return "the robot's bodies already collide with each other" if situation.robot.self_collision else ""


def _changing_commands() -> list[Factor]:
    """A factor for each task whose commands change within an episode: its parameters have a `change_time`."""
    factors = []
    for task in tasks().values():
        params = task.config_class()
        if not hasattr(params, "change_time"):
            continue
        shortest, longest = params.change_time
        change = set_value(f"{task.config_key}.change_time", lambda x, more=longest - shortest: (x, x + more))
        title, values = f"time between commands, {task.name}", (2.0, 1.5, 1.0)
        factors.append(
            Factor(f"{task.name}_changes", title, "s", constant(shortest), values, change, together=2.0, task=task.name,
                   absent=_needs_task(task.name), quick=(1.0,))
        )  # fmt: skip
    return factors


def _needs_task(name: str) -> Callable[[Situation], str]:
    return lambda situation: "" if name in situation.tasks else f"the task {name} is not played"


def _physics_rate(value: float, robot: Robot) -> float:
    return round(1.0 / mismatched(robot, MismatchParams(physics_rate=value)).physics_dt, 3)


def _delay(value: float, robot: Robot) -> float:
    return round(1e3 * robot.physics_dt * delay_steps(robot, MismatchParams(delay=1e-3 * value)), 3)


def _noise(size: float, robot: Robot) -> Changes:
    """The noise of BeyondMimic, times `size`."""
    widths = {"joint_pos": 0.01, "joint_vel": 0.5, "root_ang_vel": 0.2, "root_lin_vel": 0.5}
    noise = {f"randomization.noise.{name}": size * width * UNIFORM for name, width in widths.items()}
    return noise | {"randomization.bias.joint_pos": 0.01 * size}


def _ground(name: str) -> Callable[[float, Robot], Changes]:
    parts = dict.fromkeys(("terrain.slope", "terrain.bump_height", "terrain.step_height"), 0.0)
    return lambda value, robot: (
        parts | {f"terrain.{name}": 1e-2 * value, "terrain.kind": "gentle", "terrain.in_evaluation": True}
    )


def _push(weights: float, robot: Robot) -> Changes:
    """DeepMimic's pushes: forward, for 0.2 s, at intervals; `weights` is the force as a multiple of the robot's weight."""
    test = push_test(weights * robot.mass * GRAVITY)
    return {f"randomization.{name}": getattr(test, name) for name in ("push_force", "push_angle", "push_time")}


def _fixed_range(value: float) -> tuple[float, float]:
    return value, value


FACTORS = (
    Factor("physics_rate", "physics rate", "Hz", lambda robot: 1.0 / robot.physics_dt, (240, 360, 480, 600, 990),
           set_value("mismatch.physics_rate"), together=240, actual=_physics_rate),
    Factor("delay", "delay of the actions", "ms", constant(0), (8, 17, 25, 33), set_value("mismatch.delay", lambda x: 1e-3 * x),
           together=8, actual=_delay),
    Factor("root_height", "root height read too high", "cm", constant(0), (1, 2),
           set_value("randomization.bias.root_height", lambda x: _fixed_range(1e-2 * x)), together=1, absent=_needs_full_state),
    Factor("lin_vel_lost", "linear velocity not reported", "%", constant(0), (25, 50, 100),
           set_value("randomization.bias.lin_vel_scale", lambda x: 1.0 - 1e-2 * x), absent=_needs_full_state, quick=(100,)),
    Factor("joint_vel_noise", "noise on joint velocities", "rad/s", constant(0), (0.5, 1, 1.5),
           set_value("randomization.noise.joint_vel"), quick=(1, 1.5)),
    Factor("orientation_noise", "noise on the root's rotation", "rad", constant(0), (0.02, 0.05, 0.1),
           set_value("randomization.noise.root_rotation"), together=0.02, quick=(0.05,)),
    Factor("encoder_offset", "encoder offsets", "°", constant(0), (1, 2, 3, 5),
           set_value("randomization.bias.joint_pos", radians), quick=(3,)),
    Factor("all_noise", "BeyondMimic's noise on everything", "×", constant(0), (1, 2, 3), _noise, together=1, quick=(1,)),
    Factor("friction", "friction", "×", constant(1), (0.6, 0.4, 0.3, 0.2),
           set_value("randomization.friction", _fixed_range), together=0.6, quick=(0.3, 0.2)),
    Factor("motors", "stiffness and damping of the motors", "×", constant(1), (0.9, 0.8, 0.6, 0.4),
           lambda x, _: dict.fromkeys(("randomization.stiffness", "randomization.damping"), _fixed_range(x)),
           together=0.9, quick=(0.6,)),
    Factor("torque", "torque limits", "×", constant(1), (0.8, 0.6, 0.4, 0.3, 0.2, 0.16), set_value("mismatch.effort"),
           together=0.8, quick=(0.5, 0.16)),
    Factor("steps", "steps in the ground", "cm", constant(0), (1, 2, 3, 5), _ground("step_height"),
           together=1, absent=_needs_uneven_ground, quick=(2,)),
    Factor("bumps", "bumps in the ground", "cm", constant(0), (1, 2, 3, 5), _ground("bump_height"),
           absent=_needs_uneven_ground, quick=(2,)),
    Factor("slower_loop", "slower control loop", "×", constant(1), (0.93, 0.87, 0.8),
           lambda x, robot: {"mismatch.control_rate": x / robot.control_dt}, quick=(0.93,)),
    Factor("faster_loop", "faster control loop", "×", constant(1), (1.1, 1.33, 1.67),
           lambda x, robot: {"mismatch.control_rate": x / robot.control_dt}, quick=(1.67,)),
    Factor("leg_collision", "legs collide with each other", "on", constant(0), (1,), set_value("mismatch.leg_collision", bool),
           switch=True, absent=_needs_ignored_self_collision),
    *_changing_commands(),
    Factor("push", "pushes forward of 0.2 s", "× weight", constant(0), (0.1, 0.2, 0.3, 0.39, 0.5), _push,
           together=0.1, quick=(0.2, 0.39)),
    Factor("velocity_steps", "sudden changes of velocity", "m/s", constant(0), (0.25, 0.5, 0.75, 1),
           set_value("randomization.velocity_step", _fixed_range), together=0.25, quick=(0.5,)),
)  # fmt: skip
"""All factors, in the order of the report. A force of 0.39 times the weight is DeepMimic's 240 N on a body of 63 kg."""

NAMES = tuple(factor.name for factor in FACTORS)
