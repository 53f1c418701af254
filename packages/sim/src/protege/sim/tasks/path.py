"""Follow a smooth random path at 0.5-1.5 m/s: reach each of its points at that point's time."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protege.core import checks
from protege.core.errors import UserError
from protege.core.observations import to_heading
from protege.core.robots.state import RobotState
from protege.core.tasks import InputSpec, Task

from ..references.plans import (
    MAX_ACCELERATION,
    MAX_COMMANDED_RATE,
    MAX_LATERAL_ACCELERATION,
    Plans,
    plans_along,
    uniform,
)
from . import terms
from .locomotion_command import SUBSTEPS, LocomotionCommand, PlanModality, locomotion
from .path_clock import (
    ARRIVAL_DISTANCE,
    ASTRAY_DISTANCE,
    ASTRAY_TIME,
    DIRECTION_LOOKAHEAD,
    TIME_LIMIT_FACTOR,
    PathClock,
)
from .task import TaskContext, TaskTerms
from .terms import Scene, Term

POINT_TIMES = tuple(0.5 * (k + 1) for k in range(10))
"""Times ahead of the path's points, s."""
OFF_PATH_DISTANCE = 2.0
"""m: an evaluation episode fails when the pelvis is further than this from the path's current point."""
CLOCK_KINDS = ("fixed", "waiting")


@dataclass
class PathParams:
    """Following a smooth random path.

    Attributes:
        enable_path_termination: training ends an episode when the root is further than `path_termination_distance` from the path.
        path_termination_distance: m; see `enable_path_termination`.
        body_termination_distance: training ends an episode when any body is further than this from the warped walk, m; 0 for
            never. A teacher's corrections teach a student nothing when the robot is out of step with the walk.
        speed: least and largest speed along the path, m/s; negative is backwards.
        max_turn_rate: largest turn rate of the path, rad/s.
        clock: in evaluations. `fixed`: the path's point moves on with time. `waiting`: it slows down for a robot that is behind or
            beside it, as in deployment, and there are two more failure rules, see `tasks/path_clock.py`.
        rewards: weight of each reward term.
    """

    enable_path_termination: bool = True
    path_termination_distance: float = 0.5
    body_termination_distance: float = 0.5
    speed: tuple[float, float] = (0.5, 1.5)
    max_turn_rate: float = 0.8
    clock: str = "fixed"
    rewards: dict[str, float] = field(default_factory=lambda: {**terms.TRACKING_WEIGHTS, "path_position": 0.5})

    def check(self, key: str) -> None:
        checks.above_zero(self, key, "path_termination_distance")
        checks.at_least(0, self, key, "body_termination_distance")
        checks.within(-MAX_COMMANDED_RATE, MAX_COMMANDED_RATE, self, key, "speed")
        checks.within(0, MAX_COMMANDED_RATE, self, key, "max_turn_rate")
        checks.rising(self, key, "speed")
        terms.check_rewards(self, key, REWARDS)
        if self.clock not in CLOCK_KINDS:
            raise UserError(f"{key}.clock is {self.clock!r}", f"Take {' or '.join(CLOCK_KINDS)}")


# Observation ----------------------------------------------------------------------------------------------------------


def observe(state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
    """Future points of the path: (N, P, 2) m in the heading frame."""
    return to_heading(state, inputs["path_w"] - state.root_pos_w[:, None, :2])


def of_plans(command: LocomotionCommand) -> Callable[[], dict[str, Tensor]]:
    """The future points on the plans of a command."""
    steps = (torch.tensor(POINT_TIMES, device=command.plan.device) / command.dt).round().long()
    return lambda: {"path_w": command.points_w(steps)}


PATH = PlanModality(
    name="path",
    shape=lambda params: (len(POINT_TIMES), 2),
    inputs=lambda shape: (
        InputSpec("path_w", shape, "m", "world", "where the root should be at each of path_times from now"),
    ),
    observe=observe,
    of_plans=of_plans,
)


# Commands -------------------------------------------------------------------------------------------------------------


def plan_paths(
    count: int, steps: int, last_step: int, dt: float, params: PathParams, generator: torch.Generator
) -> Plans:
    """Smooth random paths: speed and turn rate are interpolated linearly between random knots.

    Knots are one to two seconds apart, or further if the range of speeds requires it.
    """
    slower = max(1.0, (params.speed[1] - params.speed[0]) / MAX_ACCELERATION)
    knots = math.ceil(steps * dt / slower) + 2
    times = slower * uniform((count, knots), 1.0, 2.0, generator).cumsum(dim=1)
    times = times - times[:, :1]
    now = (torch.arange(steps) * dt).expand(count, -1).contiguous()
    right = torch.searchsorted(times, now, right=True).clamp(1, knots - 1)
    t0, t1 = times.gather(1, right - 1), times.gather(1, right)
    weight = (now - t0) / (t1 - t0)

    def at_knots(low: float, high: float) -> Tensor:
        values = uniform((count, knots), low, high, generator)
        return torch.lerp(values.gather(1, right - 1), values.gather(1, right), weight)

    speed = at_knots(*params.speed)
    bend = MAX_LATERAL_ACCELERATION / speed.abs()
    turn_rate = at_knots(-params.max_turn_rate, params.max_turn_rate).clamp(-bend, bend)
    heading = (turn_rate * dt).cumsum(dim=1) - turn_rate[:, :1] * dt
    pos = _integrate(heading, speed, dt)
    return plans_along(pos, heading, turn_rate, speed, last_step=last_step)


def _integrate(heading: Tensor, speed: Tensor, dt: float) -> Tensor:
    """Positions (Q, T, 2) m of points that move in the direction they face, starting at the origin."""
    velocity = speed[..., None] * torch.stack([heading.cos(), heading.sin()], dim=-1)
    travelled = (velocity * dt).cumsum(dim=1)
    return travelled - travelled[:, :1]


class PathCommand(LocomotionCommand):
    """Envs that walk along paths.

    If `PathParams.clock` is `waiting`, the path's clock waits for the robot, and the path ends at its last step.
    """

    def __init__(self, context: TaskContext) -> None:
        waits = context.evaluation and context.params.clock == "waiting"
        super().__init__(context, SUBSTEPS if waits else 1)
        self.clock = PathClock(context.n, SUBSTEPS, self.dt, context.device) if waits else None
        self.way = torch.tensor([0, round(DIRECTION_LOOKAHEAD / self.dt)], device=context.device)

    def draw_plans(self, count: int, generator: torch.Generator) -> Plans:
        self.gaits.require(self.params.speed, "env.path_follower_params.speed")
        ahead = max(self.seen_ahead, round(POINT_TIMES[-1] / self.dt) + 1)
        steps = self.episode_steps + ahead
        return plan_paths(count, steps, self.episode_steps, self.dt, self.params, generator)

    def reset(self, mask: Tensor) -> RobotState:
        if self.clock is not None:
            self.clock.reset(mask)
        return super().reset(mask)

    def last_frame(self, plan: Tensor) -> Tensor:
        if self.clock is None:
            return super().last_frame(plan)
        return self.frames * plan + self.reference.stride * self.plans.last_step[plan]

    def pace(self, state: RobotState) -> Tensor:
        if self.clock is None:
            return super().pace(state)
        here, later = self.points_w(self.way).unbind(dim=1)
        frames = self.clock.advance(state.root_pos_w[:, :2] - here, later - here)
        return torch.minimum(frames, self.reference.last - self.reference.index)

    def points_w(self, ahead: Tensor) -> Tensor:
        """As `LocomotionCommand.points_w`; with a waiting clock, points after the end of the path stay at its end."""
        if self.clock is None:
            return super().points_w(ahead)
        steps = self.step[:, None] + ahead
        before, after = (
            self.plans.pos[self.plan[:, None], torch.minimum(x, self.last_step[:, None])] for x in (steps, steps + 1)
        )
        return torch.lerp(before, after, (self.substep / self.reference.stride)[:, None, None])

    def over(self, state: RobotState) -> Tensor:
        ended = super().over(state)
        if self.clock is None:
            return ended
        return ended & ((state.root_pos_w[:, :2] - self.point_w()).norm(dim=1) < ARRIVAL_DISTANCE)

    def _rows(self) -> dict[str, Tensor]:
        return super()._rows() | (self.clock.rows() if self.clock is not None else {})


# Rewards and rules ----------------------------------------------------------------------------------------------------


def path_distance(scene: Scene) -> Tensor:
    """Horizontal distance of the pelvis from the path's current point, m."""
    return (scene.state.root_pos_w[:, :2] - locomotion(scene).point_w()).norm(dim=-1)


def path_position(scene: Scene) -> Tensor:
    """exp(-10 x squared distance of the pelvis from the path's current point), m²."""
    return torch.exp(-10.0 * path_distance(scene).square())


def path_nearness(scene: Scene) -> Tensor:
    """1 minus the distance of the pelvis from the path's current point, m: the slope is the same near and far."""
    return 1.0 - terms.length(scene.state.root_pos_w[:, :2] - locomotion(scene).point_w(), terms.SOFT_DISTANCE)


def off_path(distance: float) -> Term:
    """The pelvis is further than `distance` (m) from the path's current point."""
    return lambda scene: path_distance(scene) > distance


def off_reference(distance: float) -> Term:
    """The same of the point where the reference is, which after a push is beside the path; see `Placement`."""
    return lambda scene: (scene.state.root_pos_w[:, :2] - locomotion(scene).reference_point_w()).norm(dim=-1) > distance


def path_lost(scene: Scene) -> Tensor:
    """With the waiting clock: the robot has been too far from the path for too long; see `path_clock`."""
    return _clock(scene).lost()


def too_late(scene: Scene) -> Tensor:
    """With the waiting clock: the robot has not arrived in time; see `path_clock`."""
    return _clock(scene).late(scene.command.last_step) & ~scene.command.over(scene.state)


def _clock(scene: Scene) -> PathClock:
    assert isinstance(scene.command, PathCommand) and scene.command.clock is not None
    return scene.command.clock


def path_following_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Horizontal distance of the pelvis from the path's current point, m."""
    error = path_distance(scene)
    return error, torch.ones_like(error)


REWARDS = {**terms.TRACKING, **terms.SENSED, "path_position": path_position, "path_nearness": path_nearness}


def build(context: TaskContext) -> TaskTerms:
    """The path following task for some envs."""
    params: PathParams = context.params
    command = PathCommand(context)
    terminations = {"fallen": terms.fallen, **terms.out_of_step(params.body_termination_distance)}
    if params.enable_path_termination:
        terminations["off_path"] = off_reference(params.path_termination_distance)
    failures = {"fallen": terms.fallen, "off_path": off_path(OFF_PATH_DISTANCE)}
    if command.clock is not None:
        failures |= {"path_lost": path_lost, "too_late": too_late}
    return TaskTerms(
        command=command,
        rewards=terms.weighted(params.rewards, REWARDS),
        terminations=terminations,
        failures=failures,
        metrics={"path_following_err": path_following_err},
    )


def failure_rule(params: PathParams) -> str:
    """The failure rule in words."""
    rule = f"the pelvis is over {OFF_PATH_DISTANCE:g} m from the path's point of the time, or a fall"
    if params.clock == "fixed":
        return rule
    lost = f"over {ASTRAY_DISTANCE:g} m for {ASTRAY_TIME:g} s"
    late = f"not within {ARRIVAL_DISTANCE:g} m of the path's end in {TIME_LIMIT_FACTOR:g} times its duration"
    return f"{rule}, {lost}, or {late}; the path's clock waits for the robot"


TASK = Task(
    name="path",
    title="Follow a path",
    kind="path_follower",
    option="path_following",
    config_class=PathParams,
    config_key="path_follower_params",
    build=build,
    metric="path_following_err",
    unit="m",
    failure_rule=failure_rule,
    strict_limit=0.5,
    modality=PATH,
    mixes=True,
    command_ranges=lambda params: {
        "path_speed": (*params.speed, "m/s"),
        "path_turn_rate": (-params.max_turn_rate, params.max_turn_rate, "rad/s"),
    },
    evaluation_only=("clock",),
    reference_seconds=lambda config, params: config.episode_length_s,
    trace=lambda command: command.point_w(),
)
