"""The env's config: plain data. A task's own parameters are in its file. Lengths in m, times in s, angles in rad."""

from dataclasses import dataclass, field, make_dataclass, replace
from typing import Any

from protege.core import checks
from protege.core.runs.config_layers import FORMER_NAME
from protege.core.tasks import tasks

from .references.plans import MAX_EPISODE_SECONDS
from .terrain_params import TerrainParams


@dataclass
class NoiseParams:
    """Standard deviations of the sensor noise, which is drawn anew every control step. It affects only observations.

    Attributes:
        joint_pos: of the noise on joint angles, rad.
        joint_vel: of the noise on joint velocities, rad/s.
        root_rotation: of the noise on the root's rotation, about each axis, rad.
        root_lin_vel: of the noise on the root's linear velocity, m/s.
        root_ang_vel: of the noise on the root's angular velocity, rad/s.
    """

    joint_pos: float = 0.0
    joint_vel: float = 0.0
    root_rotation: float = 0.0
    root_lin_vel: float = 0.0
    root_ang_vel: float = 0.0

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, *vars(self))


@dataclass
class BiasParams:
    """Sensor errors that stay the same for a whole episode. They affect only observations.

    Attributes:
        joint_pos: largest error of a joint's angle in either direction, drawn for each joint, rad.
        root_height: least and largest error of the root's height, m.
        lin_vel_scale: factor on the measured linear velocity of the root; 0: it is always measured as 0.
    """

    joint_pos: float = 0.0
    root_height: tuple[float, float] = (0.0, 0.0)
    lin_vel_scale: float = 1.0

    def check(self, key: str) -> None:
        checks.within(0, 3.2, self, key, "joint_pos")
        checks.within(-1, 1, self, key, "root_height")
        checks.within(0, 2, self, key, "lin_vel_scale")
        checks.rising(self, key, "root_height")


@dataclass
class MismatchParams:
    """How the robots of evaluations differ from their description; the same in all envs. Training ignores it.

    Attributes:
        physics_rate: rate of the physics, Hz, rounded to whole steps per control step; 0: the robot's own.
        control_rate: rate of the control loop, Hz; 0: the robot's own. All observations count control steps of this length.
        delay: of the actions, s, rounded to whole physics steps; it adds to `RandomizationParams.delay`.
        effort: factor on the joints' effort limits.
        leg_collision: the left leg's bodies collide with the right leg's.
    """

    physics_rate: float = 0.0
    control_rate: float = 0.0
    delay: float = 0.0
    effort: float = 1.0
    leg_collision: bool = False

    def check(self, key: str) -> None:
        checks.within(0, 10_000, self, key, "physics_rate")
        checks.within(0, 1000, self, key, "control_rate")
        checks.within(0, 1, self, key, "delay")
        checks.within(0, 100, self, key, "effort")
        checks.above_zero(self, key, "effort")


@dataclass
class RandomizationParams:
    """Domain randomisation. Values are drawn uniformly from these ranges, for each env in every episode. By default all is off.

    All envs share the physics rate, because they advance together: the step would last as long as that of the env with the most
    physics steps, and on a GPU no env may run another graph. The rates are taken in turn, so that each has the same share of the
    training, and so that the ranks of a distributed one never wait for each other. Episodes go on when the rate changes.

    Attributes:
        friction: least and largest factor on the friction of the ground and all bodies.
        mass: least and largest factor on mass and inertia, drawn for each body.
        com: largest shift of each body's centre of mass along each axis, m.
        torso_com: the same for the torso, in place of `com`; 0: it is `com`.
        stiffness: least and largest factor on the stiffness of the servos, drawn for each joint.
        damping: least and largest factor on the damping of the servos, drawn for each joint.
        motors: least and largest factor on stiffness and damping of all servos of an env together, on top of those for each joint.
        effort: least and largest factor on the effort limits, drawn for each joint; not with `isaaclab`.
        contact_time: least and largest factor on the time constant of contacts: above 1 contacts are softer; not with `isaaclab`.
        leg_collision: the left leg's bodies collide with the right leg's, in all envs.
        delay: least and largest delay of the actions, s, rounded to whole physics steps.
        physics_rate: rates of the physics, Hz, each rounded to whole steps per control step; 0: the robot's own. Empty: its own
            alone. Not with `isaaclab`.
        physics_rate_time: time between two changes of the physics rate, s, rounded to whole control steps.
        push_force: least and largest horizontal force of the pushes on the root, N.
        push_angle: least and largest angle of the pushes, rad; 0 is forward, π/2 to the left.
        push_interval: shortest and longest time before the first push and between two pushes, s.
        push_time: duration of a push, s, rounded to whole control steps.
        velocity_step: least and largest horizontal velocity that is added to the robot's at once, in any direction, m/s.
        velocity_step_up: largest vertical velocity that is added in the same step, up or down, m/s.
        velocity_step_turn: largest angular velocity that is added in the same step about each axis of the world, rad/s.
        velocity_step_interval: shortest and longest time before the first such step and between two steps, s.
        ramp: share of the run's budget in which all of it grows from nothing to full strength, except `leg_collision` and
            `physics_rate`; 0: full strength from the start. Evaluations have full strength.
        in_evaluation: randomise evaluations, too.
    """

    friction: tuple[float, float] = (1.0, 1.0)
    mass: tuple[float, float] = (1.0, 1.0)
    com: float = 0.0
    torso_com: float = 0.0
    stiffness: tuple[float, float] = (1.0, 1.0)
    damping: tuple[float, float] = (1.0, 1.0)
    motors: tuple[float, float] = (1.0, 1.0)
    effort: tuple[float, float] = (1.0, 1.0)
    contact_time: tuple[float, float] = (1.0, 1.0)
    leg_collision: bool = False
    delay: tuple[float, float] = field(default=(0.0, 0.0), metadata={FORMER_NAME: "latency"})
    physics_rate: tuple[float, ...] = ()
    physics_rate_time: float = 1.0
    push_force: tuple[float, float] = (0.0, 0.0)
    push_angle: tuple[float, float] = (-3.141592653589793, 3.141592653589793)
    push_interval: tuple[float, float] = (2.0, 4.0)
    push_time: float = 0.2
    velocity_step: tuple[float, float] = (0.0, 0.0)
    velocity_step_up: float = 0.0
    velocity_step_turn: float = 0.0
    velocity_step_interval: tuple[float, float] = (1.0, 3.0)
    noise: NoiseParams = field(default_factory=NoiseParams)
    bias: BiasParams = field(default_factory=BiasParams)
    ramp: float = 0.0
    in_evaluation: bool = False

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "friction", "mass", "effort", "contact_time", "push_time", "physics_rate_time")
        checks.within(0, 100, self, key, "friction", "mass", "stiffness", "damping", "effort", "contact_time", "com")
        checks.within(0, 100, self, key, "torso_com", "motors")
        checks.within(0, 1, self, key, "delay", "ramp")
        checks.within(0, 10_000, self, key, "physics_rate")
        checks.at_most_entries(16, self, key, "physics_rate")
        checks.within(-100, 100, self, key, "push_angle")
        checks.at_least(0, self, key, "push_force", "push_interval", "velocity_step", "velocity_step_interval")
        checks.at_least(0, self, key, "velocity_step_up", "velocity_step_turn")
        for name in (
            "friction",
            "mass",
            "stiffness",
            "damping",
            "motors",
            "effort",
            "contact_time",
            "delay",
            "push_force",
            "push_angle",
            "push_interval",
            "velocity_step",
            "velocity_step_interval",
        ):
            checks.rising(self, key, name)

    @property
    def varies_bodies(self) -> bool:
        """Whether envs differ in their bodies."""
        same, bodies = (
            RandomizationParams(),
            ("friction", "mass", "com", "torso_com", "stiffness", "damping", "motors", "effort", "contact_time"),
        )
        return any(getattr(self, x) != getattr(same, x) for x in bodies)

    @property
    def steps_velocity(self) -> bool:
        """Whether robots are suddenly faster now and then."""
        return max(*self.velocity_step, self.velocity_step_up, self.velocity_step_turn) > 0.0

    @property
    def pushes(self) -> bool:
        """Whether robots are pushed, by forces or by sudden velocities."""
        return self.push_force[1] > 0.0 or self.steps_velocity

    def when(self, evaluation: bool) -> "RandomizationParams":
        """The parameters that apply in training, or in an evaluation."""
        if not evaluation:
            return self
        return replace(self, ramp=0.0) if self.in_evaluation else RandomizationParams()


@dataclass
class ReanchorParams:
    """References of pushed robots in training: they go on from where the robot is. Commands and evaluations do not change.

    Attributes:
        enabled: move the reference to a robot that `env.randomization` has pushed. The walk along a path or to a goal returns to
            its plan; that of steering goes on from the robot's place and heading; a clip goes on beside its old place.
        after: time from the end of a push until the reference is moved, s.
        return_time: time in which a walk's reference returns to its plan, s.
    """

    enabled: bool = True
    after: float = 0.3
    return_time: float = 2.0

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, "after")
        checks.above_zero(self, key, "return_time")
        checks.within(0, MAX_EPISODE_SECONDS, self, key, "after", "return_time")


def push_test(force: float) -> RandomizationParams:
    """Occasional forward pushes of 0.2 s; DeepMimic's walk survives 240 N (arXiv 1804.02717)."""
    return RandomizationParams(push_force=(force, force), push_angle=(0.0, 0.0), in_evaluation=True)


@dataclass
class MjwarpParams:
    """Capacity of the arrays of the simulator `mjwarp`.

    Attributes:
        contacts: contacts per env, pooled over all envs; bodies that tumble have at most 14.
        constraints: constraint rows per env: four for a contact, one for a joint at its limit; bodies that tumble have at most 60.
    """

    contacts: int = 32
    constraints: int = 192

    def check(self, key: str) -> None:
        checks.within(1, 100_000, self, key, "contacts", "constraints")


@dataclass
class IsaaclabParams(MjwarpParams):
    """Capacity of the arrays of the simulator `isaaclab`, which uses the solver of `mjwarp`."""


@dataclass
class EnvSettings:
    """Everything about the envs except the robot, the simulator's name and the clips, which are in RunConfig.

    Attributes:
        num_envs: number of envs.
        task_mix: weight of each task by name; envs are assigned to tasks in proportion.
        episode_length_s: longest episode, s.
        future_frames: which future control steps of the reference are observed.
        history_steps: number of past proprioceptions that are observed.
        num_plans: number of random commands that are drawn in advance for each walking task; in training at most 16 per env, and
            `distill evaluate` draws one per episode.
        mix_probability: probability that an env that walks to a place also observes other commands of the same plan.
    """

    num_envs: int = 4096
    task_mix: dict[str, float] = field(default_factory=lambda: {"track": 1.0})
    episode_length_s: float = 10.0
    future_frames: tuple[int, ...] = (1, 2, 4, 8)
    history_steps: int = 4
    num_plans: int = 1024
    mix_probability: float = 0.0
    randomization: RandomizationParams = field(default_factory=RandomizationParams)
    reanchor: ReanchorParams = field(default_factory=ReanchorParams)
    mismatch: MismatchParams = field(default_factory=MismatchParams)
    terrain: TerrainParams = field(default_factory=TerrainParams)
    mjwarp: MjwarpParams = field(default_factory=MjwarpParams)
    isaaclab: IsaaclabParams = field(default_factory=IsaaclabParams)

    def check(self, key: str) -> None:
        checks.at_least(1, self, key, "num_envs", "num_plans")
        checks.within(1, 1000, self, key, "future_frames", "history_steps")
        checks.not_empty(self, key, "future_frames")
        checks.at_most_entries(100, self, key, "future_frames")
        checks.weights(self, key, "task_mix")
        checks.above_zero(self, key, "episode_length_s")
        checks.within(0, MAX_EPISODE_SECONDS, self, key, "episode_length_s")
        checks.shares(self, key, "mix_probability")


TaskParams: Any = make_dataclass(
    "TaskParams",
    [(task.config_key, task.config_class, field(default_factory=task.config_class)) for task in tasks().values()],
)
"""The parameters of every installed task, each under its `config_key`."""


@dataclass
class EnvConfig(TaskParams, EnvSettings):
    """The `env` part of a config: what all tasks share, and the parameters of each."""
