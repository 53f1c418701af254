"""The factors of the robustness suite: a table. Each says what it changes, by how much, and where it cannot be varied.

Sizes are those of the field: DeepMimic's pushes (arXiv 1804.02717), the noise and velocity steps of BeyondMimic (arXiv 2508.08241),
and errors that were met between simulators and robots.
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
"""Standard deviation of what is uniform within ±1: the noise of `env.randomization.noise` is normal."""


@dataclass(frozen=True)
class Situation:
    """Where a policy is tested: its robot, its senses, the simulator and the tasks."""

    robot: Robot
    sensors: str
    simulator: str
    tasks: tuple[str, ...]


Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Factor:
    """One way in which the world may differ.

    Attributes:
        name: on the command line and in robustness.json.
        title: for people.
        unit: of its values.
        nominal: the value at which nothing differs; of the rates it is the robot's own.
        values: from mild to severe.
        changes: a value -> what of the env's config it changes, by the name below `env`.
        together: the value that it has where all factors differ at once; None leaves it out.
        task: the only one that it concerns; empty for all.
        switch: on or off, with nothing in between.
        absent: why it cannot be varied, in words; empty where it can.
        actual: (value, robot) -> the nearest value that the simulation can have.
        quick: those of the values that the quick suite has; by default the first and the last.
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
    absent: Callable[[Situation], str] = lambda where: ""
    actual: Callable[[float, Robot], float] = lambda value, robot: value
    quick: tuple[float, ...] = ()

    def of(self, suite: str) -> tuple[float, ...]:
        """The values of a suite, `quick` or `full`."""
        return self.values if suite == "full" else self.quick or tuple(dict.fromkeys((self.values[0], self.values[-1])))


def const(value: float) -> Callable[[Robot], float]:
    """A nominal value that all robots share."""
    return lambda robot: value


def key(name: str, make: Callable[[float], Any] = lambda value: value) -> Callable[[float, Robot], Changes]:
    """One changed value of the env's config."""
    return lambda value, robot: {name: make(value)}


def _seen_by_full_state(where: Situation) -> str:
    return "the policy has onboard senses, which do not measure it" if where.sensors == ONBOARD else ""


def _uneven(where: Situation) -> str:
    return "isaaclab has a flat floor alone" if where.simulator == "isaaclab" else ""


def _apart(where: Situation) -> str:
    return "the robot's description has its bodies collide already" if where.robot.self_collision else ""


def _changing_commands() -> list[Factor]:
    """A factor for each task whose commands change within an episode: its parameters have a `change_time`."""
    found = []
    for task in tasks().values():
        params = task.config_class()
        if not hasattr(params, "change_time"):
            continue
        shortest, longest = params.change_time
        between = key(f"{task.config_key}.change_time", lambda x, more=longest - shortest: (x, x + more))
        title, values = f"time between commands, {task.name}", (2.0, 1.5, 1.0)
        found.append(
            Factor(f"{task.name}_changes", title, "s", const(shortest), values, between, together=2.0, task=task.name,
                   absent=_played(task.name), quick=(1.0,))
        )  # fmt: skip
    return found


def _played(name: str) -> Callable[[Situation], str]:
    return lambda where: "" if name in where.tasks else f"the task {name} is not played"


def _physics_rate(value: float, robot: Robot) -> float:
    return round(1.0 / mismatched(robot, MismatchParams(physics_rate=value)).physics_dt, 3)


def _delay(value: float, robot: Robot) -> float:
    return round(1e3 * robot.physics_dt * delay_steps(robot, MismatchParams(delay=1e-3 * value)), 3)


def _noise(size: float, robot: Robot) -> Changes:
    """BeyondMimic's, `size` times."""
    widths = {"joint_pos": 0.01, "joint_vel": 0.5, "root_ang_vel": 0.2, "root_lin_vel": 0.5}
    noise = {f"randomization.noise.{name}": size * width * UNIFORM for name, width in widths.items()}
    return noise | {"randomization.bias.joint_pos": 0.01 * size}


def _ground(name: str) -> Callable[[float, Robot], Changes]:
    flat = {"terrain.kind": "gentle", "terrain.slope": 0.0, "terrain.bump_height": 0.0, "terrain.step_height": 0.0}
    return lambda value, robot: flat | {f"terrain.{name}": 1e-2 * value}


def _push(weights: float, robot: Robot) -> Changes:
    """DeepMimic's: forward, for 0.2 s, now and then."""
    test = push_test(weights * robot.mass * GRAVITY)
    return {f"randomization.{name}": getattr(test, name) for name in ("push_force", "push_angle", "push_time")}


def _both(value: float) -> tuple[float, float]:
    return value, value


FACTORS = (
    Factor("physics_rate", "physics rate", "Hz", lambda robot: 1.0 / robot.physics_dt, (240, 360, 480, 600, 990),
           key("mismatch.physics_rate"), together=240, actual=_physics_rate),
    Factor("delay", "delay of the actions", "ms", const(0), (8, 17, 25, 33), key("mismatch.delay", lambda x: 1e-3 * x),
           together=8, actual=_delay),
    Factor("root_height", "root height read too high", "cm", const(0), (1, 2),
           key("randomization.bias.root_height", lambda x: _both(1e-2 * x)), together=1, absent=_seen_by_full_state),
    Factor("lin_vel_lost", "linear velocity not reported", "%", const(0), (25, 50, 100),
           key("randomization.bias.lin_vel_scale", lambda x: 1.0 - 1e-2 * x), absent=_seen_by_full_state, quick=(100,)),
    Factor("joint_vel_noise", "noise on joint velocities", "rad/s", const(0), (0.5, 1, 1.5),
           key("randomization.noise.joint_vel"), quick=(1, 1.5)),
    Factor("orientation_noise", "noise on the root's rotation", "rad", const(0), (0.02, 0.05, 0.1),
           key("randomization.noise.root_rotation"), together=0.02, quick=(0.05,)),
    Factor("encoder_offset", "encoder offsets", "°", const(0), (1, 2, 3, 5),
           key("randomization.bias.joint_pos", radians), quick=(3,)),
    Factor("all_noise", "BeyondMimic's noise on everything", "×", const(0), (1, 2, 3), _noise, together=1, quick=(1,)),
    Factor("friction", "friction", "×", const(1), (0.6, 0.4, 0.3, 0.2),
           key("randomization.friction", _both), together=0.6, quick=(0.3, 0.2)),
    Factor("motors", "stiffness and damping of the motors", "×", const(1), (0.9, 0.8, 0.6, 0.4),
           lambda x, _: dict.fromkeys(("randomization.stiffness", "randomization.damping"), _both(x)),
           together=0.9, quick=(0.6,)),
    Factor("torque", "torque limits", "×", const(1), (0.8, 0.6, 0.4, 0.3, 0.2, 0.16), key("mismatch.effort"),
           together=0.8, quick=(0.5, 0.16)),
    Factor("steps", "steps in the ground", "cm", const(0), (1, 2, 3, 5), _ground("step_height"),
           together=1, absent=_uneven, quick=(2,)),
    Factor("bumps", "bumps in the ground", "cm", const(0), (1, 2, 3, 5), _ground("bump_height"),
           absent=_uneven, quick=(2,)),
    Factor("slower_loop", "slower control loop", "×", const(1), (0.93, 0.87, 0.8),
           lambda x, robot: {"mismatch.control_rate": x / robot.control_dt}, quick=(0.93,)),
    Factor("faster_loop", "faster control loop", "×", const(1), (1.1, 1.33, 1.67),
           lambda x, robot: {"mismatch.control_rate": x / robot.control_dt}, quick=(1.67,)),
    Factor("leg_collision", "legs collide with each other", "on", const(0), (1,), key("mismatch.leg_collision", bool),
           switch=True, absent=_apart),
    *_changing_commands(),
    Factor("push", "pushes forward of 0.2 s", "× weight", const(0), (0.1, 0.2, 0.3, 0.39, 0.5), _push,
           together=0.1, quick=(0.2, 0.39)),
    Factor("velocity_steps", "sudden changes of velocity", "m/s", const(0), (0.25, 0.5, 0.75, 1),
           key("randomization.velocity_step", _both), together=0.25, quick=(0.5,)),
)  # fmt: skip
"""In the order of the report. A force of 0.39 times the weight is DeepMimic's 240 N on a body of 63 kg."""

NAMES = tuple(factor.name for factor in FACTORS)
