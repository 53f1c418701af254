"""The environment's config: plain data, one dataclass a task. Lengths in m, times in s, angles in rad."""

from dataclasses import dataclass, field, replace

from protege.core import checks
from protege.core.errors import UserError

from .tasks.path_rules import PATH_CLOCKS
from .terrain_params import TerrainParams

LONGEST = 600.0
"""s, of an episode: its references are computed ahead, 30 000 frames at 50 Hz."""
FASTEST = 100.0
"""m/s and rad/s, of what is asked for; a robot that falls does not get there."""


@dataclass
class MotionParams:
    """Tracking of clips.

    Attributes:
        termination_distance: training ends an episode when any body is further than this from the reference, m.
        hard_sampling: share of training's starts that is drawn by how often a clip's seconds are failed in; 0 draws all alike.
        hard_sampling_limit: no second of a clip is drawn more than so many times as often as with `hard_sampling` 0.
        rewards: weight of each reward term.
    """

    termination_distance: float = 0.5
    hard_sampling: float = 0.5
    hard_sampling_limit: float = 5.0
    rewards: dict[str, float] = field(
        default_factory=lambda: {"body_pos": 0.5, "body_rot": 0.3, "body_lin_vel": 0.1, "body_ang_vel": 0.1}
    )

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "termination_distance")
        checks.shares(self, key, "hard_sampling")
        checks.at_least(1, self, key, "hard_sampling_limit")
        checks.within(-checks.LARGEST, checks.LARGEST, self, key, "rewards")


@dataclass
class MaskParams:
    """Which target poses a world may see (MaskedMimic, arXiv 2409.14393, section 5.2).

    Attributes:
        patterns: weight of each pattern of visible bodies: `full`, `head_hands`, `root`, `hands`, `feet`, `random`; with
            `inbetween` all are visible, but only in the furthest frame.
        frame_keep: probability that one of the future frames is visible (at least one always is); not for `inbetween`.
        resample_time: mean time between new draws within an episode, s.
    """

    patterns: dict[str, float] = field(
        default_factory=lambda: {
            "full": 1.0,
            "head_hands": 1.0,
            "root": 0.5,
            "hands": 0.5,
            "feet": 0.5,
            "random": 1.5,
            "inbetween": 0.5,
        }
    )
    frame_keep: float = 0.75
    resample_time: float = 2.0

    def check(self, key: str) -> None:
        checks.weights(self, key, "patterns")
        if not any(self.patterns.values()):
            raise UserError(f"{key}.patterns has no positive weight", f"Give one, e.g. {key}.patterns.full=1")
        checks.shares(self, key, "frame_keep")
        checks.above_zero(self, key, "resample_time")


@dataclass
class PathParams:
    """Following a smooth random path.

    Attributes:
        enable_path_termination: training ends an episode further than `path_termination_distance` from the path.
        path_termination_distance: m; see `enable_path_termination`.
        body_termination_distance: training ends an episode when any body is further than this from the warped walk, m; 0 for
            never. Out of step with the walk, a teacher's corrections teach a student nothing.
        speed: least and largest speed along the path, m/s; below zero it is walked backwards.
        max_turn_rate: of the path, rad/s.
        clock: in evaluations. `fixed`: the path's point moves on with time. `waiting`: it slows down for a robot that is behind or
            beside it, as in deployment, and there are two more ways to fail, see `path_rules.py`.
        rewards: weight of each reward term.
    """

    enable_path_termination: bool = True
    path_termination_distance: float = 0.5
    body_termination_distance: float = 0.5
    speed: tuple[float, float] = (0.5, 1.5)
    max_turn_rate: float = 0.8
    clock: str = "fixed"
    rewards: dict[str, float] = field(
        default_factory=lambda: {
            "body_pos": 0.5,
            "body_rot": 0.3,
            "body_lin_vel": 0.1,
            "body_ang_vel": 0.1,
            "path_position": 0.5,
        }
    )

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "path_termination_distance")
        checks.at_least(0, self, key, "body_termination_distance")
        checks.within(-FASTEST, FASTEST, self, key, "speed")
        checks.within(0, FASTEST, self, key, "max_turn_rate")
        checks.rising(self, key, "speed")
        checks.within(-checks.LARGEST, checks.LARGEST, self, key, "rewards")
        if self.clock not in PATH_CLOCKS:
            raise UserError(f"{key}.clock is {self.clock!r}", f"Take {' or '.join(PATH_CLOCKS)}")

    def when(self, evaluation: bool) -> "PathParams":
        """These parameters in evaluations, or in training, whose clock is fixed."""
        return self if evaluation else replace(self, clock="fixed")


@dataclass
class GoalParams:
    """Being at a point by a deadline, standing.

    Attributes:
        goal_reward_weight: weight of the reward for closeness to the plan's end.
        distance: nearest and furthest goal, m, in any direction.
        approach_speed: the deadline is 2 s + distance / approach_speed, m/s.
        termination_distance: training ends an episode further than this from the plan, m.
        body_termination_distance: see `PathParams`.
        success_distance: an evaluation fails if the pelvis is further from the goal than this at the deadline, m.
        max_turn_rate: of the walk that is asked for, rad/s.
        rewards: weight of each reward term besides `goal_closeness`, whose weight is `goal_reward_weight`.
    """

    goal_reward_weight: float = 0.5
    distance: tuple[float, float] = (1.0, 4.0)
    approach_speed: float = 0.8
    termination_distance: float = 0.75
    body_termination_distance: float = 0.5
    success_distance: float = 0.5
    max_turn_rate: float = 2.0
    rewards: dict[str, float] = field(
        default_factory=lambda: {"body_pos": 0.5, "body_rot": 0.3, "body_lin_vel": 0.1, "body_ang_vel": 0.1}
    )

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, "goal_reward_weight", "body_termination_distance", "distance")
        checks.within(0, FASTEST, self, key, "max_turn_rate")
        checks.rising(self, key, "distance")
        checks.above_zero(self, key, "approach_speed", "termination_distance", "success_distance")
        checks.within(-checks.LARGEST, checks.LARGEST, self, key, "rewards")
        furthest = (LONGEST - 2.0) * self.approach_speed
        if self.distance[1] > furthest:
            raise UserError(
                f"{key}.distance is {list(self.distance)}: at {key}.approach_speed={self.approach_speed:g} that takes "
                f"more than {LONGEST:g} s, the longest episode",
                f"Take {furthest:g} m or less",
            )


@dataclass
class SteeringParams:
    """Facing a commanded direction and moving along it at a commanded speed.

    Attributes:
        obs_size: 3 (direction, speed) or 5 (and the direction to face).
        speed: least and largest commanded speed, m/s; below zero is backwards, facing the direction, and what is slower than 0.15
            is drawn as 0, standing.
        change_time: shortest and longest time between commands in evaluations, s.
        training_change_time: the same in training, s. It is the turns that are hard to learn; there had better be many.
        slow_share: share of training's commands that are drawn from the lowest fifth of `speed`: half of them are to stand, if
            `speed` begins at 0, which is learned from few of the others.
        follow_gait: in training the plan's clock goes by a quarter slower for a robot whose gait lags, and faster after one that
            leads, up to 0.2 s in all. For students: a command does not tell the phase that teachers correct them to.
        settle_time: errors count from so long after a change on, s.
        max_heading_error: once settled, facing further off than this is a failure, rad (the default is 45°).
        body_termination_distance: see `PathParams`; the warped walk goes along with the robot.
        max_turn_rate: of the walk that is asked for, rad/s.
        rewards: weight of each reward term.
    """

    obs_size: int = 3
    speed: tuple[float, float] = (0.0, 1.5)
    change_time: tuple[float, float] = (3.0, 6.0)
    training_change_time: tuple[float, float] = (1.5, 4.0)
    slow_share: float = 0.0
    follow_gait: bool = False
    settle_time: float = 2.0
    max_heading_error: float = 0.7853981633974483
    body_termination_distance: float = 0.5
    max_turn_rate: float = 2.0
    rewards: dict[str, float] = field(
        default_factory=lambda: {
            "body_pos": 0.5,
            "body_rot": 0.3,
            "body_lin_vel": 0.1,
            "body_ang_vel": 0.1,
            "steering_velocity": 0.5,
        }
    )

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, "settle_time", "body_termination_distance")
        checks.within(-FASTEST, FASTEST, self, key, "speed")
        checks.within(0, FASTEST, self, key, "max_turn_rate")
        checks.above_zero(self, key, "change_time", "training_change_time", "max_heading_error")
        checks.within(0.1, checks.LARGEST, self, key, "change_time", "training_change_time")
        checks.within(-checks.LARGEST, checks.LARGEST, self, key, "rewards")
        if self.obs_size not in (3, 5):
            raise UserError(
                f"{key}.obs_size is {self.obs_size}", "Take 3 (direction, speed) or 5 (and the direction to face)"
            )
        checks.shares(self, key, "slow_share")
        for name in ("speed", "change_time", "training_change_time"):
            checks.rising(self, key, name)

    def when(self, evaluation: bool) -> "SteeringParams":
        """These parameters in evaluations, or in training, with the `change_time` that counts there."""
        if evaluation:
            return replace(self, follow_gait=False, slow_share=0.0)
        return replace(self, change_time=self.training_change_time)


@dataclass
class NoiseParams:
    """Standard deviations of the sensors' noise, which is new every control step. Only observations have it.

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
class RandomizationParams:
    """Domain randomisation. Ranges are drawn from uniformly, for each world with every episode; as they are here, all is off.

    Attributes:
        friction: least and largest factor on the friction of the ground and all bodies.
        mass: least and largest factor on mass and inertia, drawn for each body.
        com: each body's centre of mass lies off by up to this, along each axis, m.
        stiffness: least and largest factor on the stiffness of the servos, drawn for each joint.
        damping: the same of their damping.
        latency: least and largest delay of the actions, s, rounded to whole control steps.
        push_force: least and largest force of the pushes on the root, level, N.
        push_angle: least and largest angle of the pushes, rad; 0 is forward, π/2 to the left.
        push_interval: shortest and longest time before the first push and between two, s.
        push_time: how long a push lasts, s, rounded to whole control steps.
        in_evaluation: evaluations have all this, too.
    """

    friction: tuple[float, float] = (1.0, 1.0)
    mass: tuple[float, float] = (1.0, 1.0)
    com: float = 0.0
    stiffness: tuple[float, float] = (1.0, 1.0)
    damping: tuple[float, float] = (1.0, 1.0)
    latency: tuple[float, float] = (0.0, 0.0)
    push_force: tuple[float, float] = (0.0, 0.0)
    push_angle: tuple[float, float] = (-3.141592653589793, 3.141592653589793)
    push_interval: tuple[float, float] = (2.0, 4.0)
    push_time: float = 0.2
    noise: NoiseParams = field(default_factory=NoiseParams)
    in_evaluation: bool = False

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "friction", "mass", "push_time")
        checks.within(0, 100, self, key, "friction", "mass", "stiffness", "damping", "com")
        checks.within(0, 1, self, key, "latency")
        checks.within(-100, 100, self, key, "push_angle")
        checks.at_least(0, self, key, "push_force", "push_interval")
        for name in (
            "friction",
            "mass",
            "stiffness",
            "damping",
            "latency",
            "push_force",
            "push_angle",
            "push_interval",
        ):
            checks.rising(self, key, name)

    @property
    def varies_bodies(self) -> bool:
        """Whether worlds differ in their bodies."""
        same = RandomizationParams()
        return any(getattr(self, x) != getattr(same, x) for x in ("friction", "mass", "com", "stiffness", "damping"))

    def when(self, evaluation: bool) -> "RandomizationParams":
        """What holds in training, or in an evaluation."""
        return self if self.in_evaluation or not evaluation else RandomizationParams()


def push_test(force: float) -> RandomizationParams:
    """Pushes forward, now and then, for 0.2 s: of what DeepMimic's walk survives 240 N (arXiv 1804.02717)."""
    return RandomizationParams(push_force=(force, force), push_angle=(0.0, 0.0), in_evaluation=True)


@dataclass
class MjwarpParams:
    """Room in the arrays of the simulator `mjwarp`.

    Attributes:
        contacts: room for so many a world, shared by all worlds; bodies that fall about have 14 at most.
        constraints: rows in each world: four a contact, one a joint at its limit; bodies that fall about have 60 at most.
    """

    contacts: int = 32
    constraints: int = 192

    def check(self, key: str) -> None:
        checks.within(1, 100_000, self, key, "contacts", "constraints")


@dataclass
class IsaaclabParams(MjwarpParams):
    """Room in the arrays of the simulator `isaaclab`, whose solver is that of `mjwarp`.

    Attributes:
        contacts: room for so many a world, shared by all worlds.
        constraints: rows in each world.
    """


@dataclass
class EnvConfig:
    """Everything about the worlds except the robot, the simulator's name and the clips, which are in RunConfig.

    Attributes:
        num_envs: worlds.
        task_mix: weight of each task (`track`, `masked_mimic`, `path`, `goal`, `steering`); worlds are dealt out by it.
        episode_length_s: longest episode, s.
        future_frames: which future control steps of the reference are seen.
        history_steps: how many past proprioceptions are seen.
        num_plans: how many random commands are drawn ahead for each of path, goal and steering; in training at most 16 for each
            env, and `distill evaluate` draws one an episode.
        mix_probability: chance that a path or goal world is also shown other commands of the same plan.
    """

    num_envs: int = 4096
    task_mix: dict[str, float] = field(default_factory=lambda: {"track": 1.0})
    episode_length_s: float = 10.0
    future_frames: tuple[int, ...] = (1, 2, 4, 8)
    history_steps: int = 4
    num_plans: int = 1024
    mix_probability: float = 0.0
    track: MotionParams = field(default_factory=MotionParams)
    masked_mimic_params: MaskParams = field(default_factory=MaskParams)
    path_follower_params: PathParams = field(default_factory=PathParams)
    goal_params: GoalParams = field(default_factory=GoalParams)
    steering_params: SteeringParams = field(default_factory=SteeringParams)
    randomization: RandomizationParams = field(default_factory=RandomizationParams)
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
        checks.within(0, LONGEST, self, key, "episode_length_s")
        checks.shares(self, key, "mix_probability")
