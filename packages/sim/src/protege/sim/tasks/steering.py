"""Move in a commanded direction at 0-1.5 m/s; both change every 3-6 s."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from protege.core import checks
from protege.core.errors import UserError
from protege.core.observations import to_heading
from protege.core.robots import rotation as R
from protege.core.robots.state import RobotState
from protege.core.tasks import InputSpec, Task

from ..references.plans import MAX_ACCELERATION, MAX_COMMANDED_RATE, Plans, drive, uniform
from ..references.rows import zero_where
from . import terms
from .locomotion_command import SUBSTEPS, LocomotionCommand, PlanModality, locomotion
from .task import TaskContext, TaskTerms
from .terms import Scene, Term

FAST_COMMAND_SPEED = 1.5
"""m/s: changes from or to higher commanded speeds have a longer settling time."""
SLOWEST_COMMAND = 0.15
"""m/s: lower commanded speeds mean standing, because no gait is so slow."""
MAX_CLOCK_OFFSET = 0.2
"""s, by which a plan's clock may lag or lead. Without this limit students would learn to stay behind the command."""
SOFT_VELOCITY, SOFT_HEADING = 0.2, 0.05
"""m/s, rad: `velocity_nearness` and `heading_nearness` are smooth within this distance of zero error. A walking pelvis sways at
0.1-0.2 m/s, so only the mean over a stride matters."""
PHASE_SPEED_SQUARED = 0.04
"""m²/s², mean square of the bodies' velocities relative to the root; below it they do not reveal the gait's phase."""


@dataclass
class SteeringParams:
    """Facing a commanded direction and moving along it at a commanded speed.

    Attributes:
        obs_size: 3 (direction, speed) or 5 (and the direction to face).
        speed: least and largest commanded speed, m/s; negative is backwards, facing the direction. Speeds below 0.15 are commanded
            as 0, standing.
        change_time: shortest and longest time between commands in evaluations, s.
        training_change_time: the same in training, s. Turns are hard to learn, so there should be many of them.
        slow_share: share of training's commands that are drawn from the lowest fifth of `speed`. If `speed` begins at 0, half of
            them are to stand, which few of the other commands teach.
        follow_gait: in training the plan's clock runs a quarter slower for a robot whose gait lags, and a quarter faster for one
            that leads, up to 0.2 s in all. For students: a command does not contain the phase to which teachers correct them.
        settle_time: time after a change from which on errors count, s; 0.67 s longer per m/s from or to more than 1.5 m/s.
        max_heading_error: once settled, facing further away than this is a failure, rad (the default is 45°).
        body_termination_distance: see `PathParams`; the warped walk moves along with the robot.
        max_turn_rate: largest turn rate of the commanded walk, rad/s.
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
    rewards: dict[str, float] = field(default_factory=lambda: {**terms.TRACKING_WEIGHTS, "steering_velocity": 0.5})

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, "settle_time", "body_termination_distance")
        checks.within(-MAX_COMMANDED_RATE, MAX_COMMANDED_RATE, self, key, "speed")
        checks.within(0, MAX_COMMANDED_RATE, self, key, "max_turn_rate")
        checks.above_zero(self, key, "change_time", "training_change_time", "max_heading_error")
        checks.within(0.1, checks.MAX_NUMBER, self, key, "change_time", "training_change_time")
        terms.check_rewards(self, key, REWARDS)
        if self.obs_size not in (3, 5):
            raise UserError(
                f"{key}.obs_size is {self.obs_size}", "Take 3 (direction, speed) or 5 (and the direction to face)"
            )
        checks.shares(self, key, "slow_share")
        for name in ("speed", "change_time", "training_change_time"):
            checks.rising(self, key, name)

    def when(self, evaluation: bool) -> "SteeringParams":
        """The parameters that apply in evaluations, or in training, with its own `change_time`."""
        if evaluation:
            return replace(self, follow_gait=False, slow_share=0.0)
        return replace(self, change_time=self.training_change_time)


# Observation ----------------------------------------------------------------------------------------------------------


def observe(state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
    """Direction and speed: (N, 3) = unit direction in the heading frame (2), speed (1, m/s); (N, 5) with where to face (2)."""
    vectors = [to_heading(state, inputs["steering_direction_w"]), inputs["steering_speed"].unsqueeze(1)]
    if "steering_facing_w" in inputs:
        vectors.append(to_heading(state, inputs["steering_facing_w"]))
    return torch.cat(vectors, dim=1)


def inputs(shape: tuple[int, ...]) -> tuple[InputSpec, ...]:
    """The raw inputs of an observation of 3 numbers or 5."""
    specs = (
        InputSpec("steering_direction_w", (2,), "1", "world", "where to go, a unit vector"),
        InputSpec("steering_speed", (), "m/s", "", "how fast to go"),
        InputSpec("steering_facing_w", (2,), "1", "world", "where to face, a unit vector"),
    )
    return specs if tuple(shape) == (5,) else specs[:2]


def of_plans(command: LocomotionCommand) -> Callable[[], dict[str, Tensor]]:
    """The velocities of a command's plans. The robot faces its direction of travel."""

    def values() -> dict[str, Tensor]:
        direction, speed = command.direction_and_speed()
        return {"steering_direction_w": direction, "steering_speed": speed, "steering_facing_w": direction}

    return values


STEERING = PlanModality(
    name="steering", shape=lambda params: (params.obs_size,), inputs=inputs, observe=observe, of_plans=of_plans
)


# Commands -------------------------------------------------------------------------------------------------------------


def plan_steering(
    count: int, steps: int, last_step: int, dt: float, params: SteeringParams, generator: torch.Generator
) -> Plans:
    """Directions and speeds that change every few seconds; robots turn first, then speed up."""
    segments = math.ceil(steps * dt / params.change_time[0]) + 1
    changes = uniform((count, segments), *params.change_time, generator).cumsum(dim=1)
    now = (torch.arange(steps) * dt).expand(count, -1).contiguous()
    segment = torch.searchsorted(changes, now, right=True)
    directions = uniform((count, segments), -math.pi, math.pi, generator)
    directions[:, 0] = uniform((count,), -0.5, 0.5, generator)
    direction = directions.gather(1, segment)
    speeds = uniform((count, segments), *params.speed, generator)
    if params.slow_share > 0.0:
        slow = torch.rand(count, segments, generator=generator) < params.slow_share
        speeds = torch.where(slow, params.speed[0] + 0.2 * (speeds - params.speed[0]), speeds)
    commanded = speeds.gather(1, segment)
    commanded = torch.where(commanded.abs() < SLOWEST_COMMAND, 0.0, commanded)  # no gait is so slow
    begun = torch.cat([torch.zeros(count, 1), changes], dim=1).gather(1, segment)

    def obey(step: int, pos: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        error = R.wrap_angle(direction[:, step] - heading)
        return 4.0 * error, commanded[:, step] * error.cos().clamp_min(0.0)

    start_speed = uniform((count,), -0.5, 0.8 * params.speed[1], generator).clamp_min(0.0)
    plan = drive(count, steps, dt, start_speed, params.max_turn_rate, obey)
    plan.direction, plan.commanded_speed = direction, commanded
    before = torch.cat([speeds[:, :1], speeds[:, :-1]], dim=1)
    haste = (torch.maximum(speeds.abs(), before.abs()).gather(1, segment) - FAST_COMMAND_SPEED).clamp_min(0.0)
    plan.settled = now - begun >= params.settle_time + haste / MAX_ACCELERATION
    plan.end = plan.pos[:, last_step]
    plan.last_step = torch.full((count,), last_step)
    return plan


class SteeringCommand(LocomotionCommand):
    """Envs that follow a direction and a speed.

    Their references move along with the robots, since a direction and a speed do not define a position. They do not define the
    phase of the gait either: with `SteeringParams.follow_gait` the plan's clock runs slower for a gait that lags, and faster for
    one that leads.
    """

    saved_state = (*LocomotionCommand.saved_state, "clock")
    carried = True

    def __init__(self, context: TaskContext) -> None:
        self.follows_gait = context.params.when(context.evaluation).follow_gait
        super().__init__(context, SUBSTEPS if self.follows_gait else 1)
        self.clock = torch.zeros_like(self.step)  # frames by which the plan's clock is ahead of time

    def draw_plans(self, count: int, generator: torch.Generator) -> Plans:
        self.gaits.require(self.params.speed, "env.steering_params.speed")
        steps, params = self.episode_steps + self.seen_ahead, self.params.when(self.in_turn)
        return plan_steering(count, steps, self.episode_steps, self.dt, params, generator)

    def reset(self, mask: Tensor) -> RobotState:
        zero_where(self.clock, mask)
        return super().reset(mask)

    def advance(self, state: RobotState) -> None:
        super().advance(state)
        reference = self.reference
        planned = reference.table.root_pos_w[reference.index, :2]
        reference.shift[:, :2] = state.root_pos_w[:, :2] - planned
        if reference.placement is not None:  # a turned reference stays with the robot, too
            reference.placement.pivot.copy_(planned)

    def pace(self, state: RobotState) -> Tensor:
        """The frames of a control step, or one more or less."""
        if not self.follows_gait:
            return super().pace(state)
        reference = self.reference
        lead = gait_lead(state, reference.planned(1))
        late = lead.abs() > 0.5 * self.dt / reference.stride
        clock = self.clock + torch.sign(lead).long() * late
        limit = reference.stride * round(MAX_CLOCK_OFFSET / self.dt)
        clock.clamp_(-limit, limit)
        frames = reference.stride + clock - self.clock
        self.clock.copy_(clock)
        return frames


def gait_lead(state: RobotState, reference: RobotState) -> Tensor:
    """Time by which n robots are ahead of their references in the gait, (n,) s; negative if they lag.

    It is the time by which the reference's bodies, relative to its root, would have to advance to be nearest to the robot's (least
    squares), reduced where they hardly move. The position of the robot does not matter.
    """
    off = (state.body_pos_w - state.root_pos_w[:, None]) - (reference.body_pos_w - reference.root_pos_w[:, None])
    velocity = reference.body_lin_vel_w - reference.root_lin_vel_w[:, None]
    return (off * velocity).sum(-1).mean(-1) / (velocity.square().sum(-1).mean(-1) + PHASE_SPEED_SQUARED)


# Rewards and rules ----------------------------------------------------------------------------------------------------


def commanded_velocity(scene: Scene) -> Tensor:
    """The commanded velocity, (n, 2) m/s, world frame."""
    direction, speed = locomotion(scene).direction_and_speed()
    return direction * speed[:, None]


def heading_error(scene: Scene, turned: Tensor | float = 0.0) -> Tensor:
    """Angle between the root's heading and the commanded direction, turned by `turned` (n,) rad; rad in [0, pi]."""
    direction, _ = locomotion(scene).direction_and_speed()
    wanted = torch.atan2(direction[:, 1], direction[:, 0]) + turned
    return R.wrap_angle(R.yaw(scene.state.root_quat_w) - wanted).abs()


def steering_velocity(scene: Scene) -> Tensor:
    """exp(-4 x squared difference of the root's horizontal velocity from the commanded one), m²/s²."""
    return torch.exp(-4.0 * (scene.state.root_lin_vel_w[:, :2] - commanded_velocity(scene)).square().sum(-1))


def velocity_nearness(scene: Scene) -> Tensor:
    """1 minus the error of the root's horizontal velocity, m/s: the slope is the same near and far."""
    return 1.0 - terms.length(scene.state.root_lin_vel_w[:, :2] - commanded_velocity(scene), SOFT_VELOCITY)


def heading_nearness(scene: Scene) -> Tensor:
    """1 minus 2 sin(heading error / 2), the distance of unit vectors, rad: the slope is 1 near and 0.7 at a right angle."""
    facing, (direction, _) = R.yaw_cos_sin(scene.state.root_quat_w), locomotion(scene).direction_and_speed()
    return 1.0 - terms.length(facing - direction, SOFT_HEADING)


def heading_off(angle: float) -> Term:
    """After settling, the robot faces more than `angle` (rad) away from the commanded direction."""
    return lambda scene: (heading_error(scene) > angle) & locomotion(scene).settled()


def heading_off_reference(angle: float) -> Term:
    """The same of the direction turned with the reference, which after a push faces as the robot does; see `Placement`."""

    def rule(scene: Scene) -> Tensor:
        placement, settled = scene.command.reference.placement, locomotion(scene).settled()
        turned = 0.0 if placement is None else placement.angle()
        return (heading_error(scene, turned) > angle) & settled

    return rule


def steering_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Error of the velocity averaged over the last second (one gait cycle), once settled, m/s.

    A walking pelvis sways at 0.1-0.2 m/s within each stride at any command; the mean over a cycle is the speed of travel.
    """
    seconds = (scene.trail.shape[1] - 1) * scene.dt
    velocity = (scene.trail[:, -1] - scene.trail[:, 0]) / seconds
    counts = locomotion(scene).settled() & (scene.command.step >= scene.trail.shape[1])
    return (velocity - commanded_velocity(scene)).norm(dim=-1), counts.float()


def steering_err_instant(scene: Scene) -> tuple[Tensor, Tensor]:
    """Error of the pelvis' current velocity, including the sway, once settled, m/s."""
    error = (scene.state.root_lin_vel_w[:, :2] - commanded_velocity(scene)).norm(dim=-1)
    return error, locomotion(scene).settled().float()


REWARDS = {
    **terms.TRACKING,
    **terms.SENSED,
    "steering_velocity": steering_velocity,
    "velocity_nearness": velocity_nearness,
    "heading_nearness": heading_nearness,
}


def build(context: TaskContext) -> TaskTerms:
    """The steering task for some envs."""
    params: SteeringParams = context.params
    limit = params.max_heading_error
    rules = {"fallen": terms.fallen, "heading_off": heading_off(limit)}
    return TaskTerms(
        command=SteeringCommand(context),
        rewards=terms.weighted(params.rewards, REWARDS),
        terminations={
            **rules,
            "heading_off": heading_off_reference(limit),
            **terms.out_of_step(params.body_termination_distance),
        },
        failures=rules,
        metrics={"steering_err": steering_err, "steering_err_instant": steering_err_instant},
    )


def failure_rule(params: SteeringParams) -> str:
    """The failure rule in words."""
    angle = f"{math.degrees(params.max_heading_error):.0f}°"
    longer = f" (longer above {FAST_COMMAND_SPEED:g} m/s)" if max(map(abs, params.speed)) > FAST_COMMAND_SPEED else ""
    return (
        f"the heading is over {angle} off {params.settle_time:g} s or more{longer} after a change of command, or a fall"
    )


TASK = Task(
    name="steering",
    title="Obey steering",
    kind="steering",
    option="steering",
    config_class=SteeringParams,
    config_key="steering_params",
    build=build,
    metric="steering_err",
    unit="m/s",
    failure_rule=failure_rule,
    modality=STEERING,
    command_ranges=lambda params: {"steering_speed": (*params.speed, "m/s")},
    reference_seconds=lambda config, params: config.episode_length_s * (SUBSTEPS if params.follow_gait else 1),
)
