"""Stand within half a metre of a point 1-4 m away at a deadline."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from protege.core import checks
from protege.core.errors import UserError
from protege.core.observations import to_heading
from protege.core.robots.rotation import wrap_angle
from protege.core.robots.state import RobotState
from protege.core.tasks import InputSpec, Task

from ..references.plans import MAX_ACCELERATION, MAX_COMMANDED_RATE, MAX_EPISODE_SECONDS, Plans, drive, uniform
from . import terms
from .locomotion_command import LocomotionCommand, PlanModality, locomotion
from .task import TaskContext, TaskTerms
from .terms import Scene, Term

WALKING_SPEED_LIMIT = 1.25


@dataclass
class GoalParams:
    """Standing at a point by a deadline.

    Attributes:
        goal_reward_weight: weight of the reward for being close to the end of the plan.
        distance: distance of the nearest and the furthest goal, m; the direction is random.
        approach_speed: speed that sets the deadline, 2 s + distance / approach_speed, m/s.
        termination_distance: training ends an episode when the root is further than this from the plan, m.
        body_termination_distance: see `PathParams`.
        success_distance: an evaluation episode fails if the pelvis is further than this from the goal at the deadline, m.
        max_turn_rate: largest turn rate of the commanded walk, rad/s.
        rewards: weight of each reward term besides `goal_closeness`, whose weight is `goal_reward_weight`.
    """

    goal_reward_weight: float = 0.5
    distance: tuple[float, float] = (1.0, 4.0)
    approach_speed: float = 0.8
    termination_distance: float = 0.75
    body_termination_distance: float = 0.5
    success_distance: float = 0.5
    max_turn_rate: float = 2.0
    rewards: dict[str, float] = field(default_factory=lambda: dict(terms.TRACKING_WEIGHTS))

    def check(self, key: str) -> None:
        checks.at_least(0, self, key, "goal_reward_weight", "body_termination_distance", "distance")
        checks.within(0, MAX_COMMANDED_RATE, self, key, "max_turn_rate")
        checks.rising(self, key, "distance")
        checks.above_zero(self, key, "approach_speed", "termination_distance", "success_distance")
        terms.check_rewards(self, key, REWARDS)
        furthest = (MAX_EPISODE_SECONDS - 2.0) * self.approach_speed
        if self.distance[1] > furthest:
            raise UserError(
                f"{key}.distance is {list(self.distance)}: at {key}.approach_speed={self.approach_speed:g} that takes "
                f"more than {MAX_EPISODE_SECONDS:g} s, the longest episode",
                f"Take {furthest:g} m or less",
            )

    @property
    def reward_weights(self) -> dict[str, float]:
        """The weights with that of `goal_closeness`."""
        return {**self.rewards, "goal_closeness": self.goal_reward_weight}


# Observation - ----------------------------------------------------------------------------------------------------------


def observe(state: RobotState, inputs: Mapping[str, Tensor]) -> Tensor:
    """Goal and deadline: (N, 3) = position in the heading frame (2, m), time left (1, s)."""
    offset = to_heading(state, inputs["goal_w"] - state.root_pos_w[:, :2])
    return torch.cat([offset, inputs["goal_time_left"].unsqueeze(1)], dim=1)


def of_plans(command: LocomotionCommand) -> Callable[[], dict[str, Tensor]]:
    """The goals of a command: the ends of its plans."""
    return lambda: {"goal_w": command.end_w(), "goal_time_left": command.time_left()}


GOAL = PlanModality(
    name="goal",
    shape=lambda params: (3,),
    inputs=lambda shape: (
        InputSpec("goal_w", (2,), "m", "world", "where the root should be at the deadline"),
        InputSpec("goal_time_left", (), "s", "", "time until the deadline"),
    ),
    observe=observe,
    of_plans=of_plans,
)


# Commands --------- -----------------------------------------------------------------------------------------------------


def plan_goals(
    count: int, steps: int, dt: float, params: GoalParams, generator: torch.Generator, fastest: float = math.inf
) -> Plans:
    """Turn towards a point in any direction, walk there, brake and stand; the plan ends at 2 s + distance / approach speed.

    No plan is faster than `fastest`, m/s.
    """
    fastest = min(fastest, WALKING_SPEED_LIMIT)
    distance = uniform((count,), *params.distance, generator)
    bearing = uniform((count,), -math.pi, math.pi, generator)
    goal = torch.stack([distance * bearing.cos(), distance * bearing.sin()], dim=1)
    # A third of the plans start standing, the others walking.
    start_speed = uniform((count,), -0.5, 1.0, generator).clamp(0.0, fastest)

    def pursue(step: int, pos: Tensor, heading: Tensor) -> tuple[Tensor, Tensor]:
        to_goal = goal - pos
        left = to_goal.norm(dim=1)
        error = wrap_angle(torch.atan2(to_goal[:, 1], to_goal[:, 0]) - heading)
        brake = (2.0 * 0.5 * MAX_ACCELERATION * (left - 0.05).clamp_min(0.0)).sqrt()
        speed = brake.clamp_max(fastest) * error.cos().clamp_min(0.0) ** 2
        # Close to the goal its bearing changes quickly; stop turning there.
        return torch.where(left < 0.15, torch.zeros_like(error), 3.0 * error), speed

    plan = drive(count, steps, dt, start_speed, params.max_turn_rate, pursue)
    plan.end = goal
    plan.last_step = ((2.0 + distance / params.approach_speed) / dt).ceil().long()
    return plan


class GoalCommand(LocomotionCommand):
    """Envs that walk to a point and stand there."""

    def draw_plans(self, count: int, generator: torch.Generator) -> Plans:
        steps = round(longest(self.params) / self.dt) + 1 + self.seen_ahead
        self.gaits.require((0.0, self.params.approach_speed), "env.goal_params.approach_speed")
        return plan_goals(count, steps, self.dt, self.params, generator, self.gaits.speeds[1])


# Rewards and rules ------------------------------------------------------------------------------------------------------


def goal_distance(scene: Scene) -> Tensor:
    """Horizontal distance of the pelvis from the goal, m."""
    return (scene.state.root_pos_w[:, :2] - locomotion(scene).end_w()).norm(dim=-1)


def goal_closeness(scene: Scene) -> Tensor:
    """exp(-distance from the goal / 0.5 m): informative far away, steep close to the goal."""
    return torch.exp(-2.0 * goal_distance(scene))


def goal_nearness(scene: Scene) -> Tensor:
    """1 minus the distance of the pelvis from the goal, m: the slope is the same near and far."""
    return 1.0 - terms.length(scene.state.root_pos_w[:, :2] - locomotion(scene).end_w(), terms.SOFT_DISTANCE)


def goal_missed(distance: float) -> Term:
    """The deadline is reached, and the pelvis is further than `distance` (m) from the goal."""
    return lambda scene: (goal_distance(scene) > distance) & (scene.command.step >= scene.command.last_step)


def goal_reaching_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Distance from the goal at the deadline, m."""
    return goal_distance(scene), (scene.command.step >= scene.command.last_step).float()


REWARDS = {**terms.TRACKING, **terms.SENSED, "goal_closeness": goal_closeness, "goal_nearness": goal_nearness}


def longest(params: GoalParams) -> float:
    """The latest deadline, s."""
    return 2.0 + params.distance[1] / params.approach_speed


def build(context: TaskContext) -> TaskTerms:
    """The goal task for some envs."""
    params: GoalParams = context.params
    return TaskTerms(
        command=GoalCommand(context),
        rewards=terms.weighted(params.reward_weights, REWARDS),
        terminations={
            "fallen": terms.fallen,
            "root_off": terms.root_off(params.termination_distance),
            **terms.out_of_step(params.body_termination_distance),
        },
        failures={"fallen": terms.fallen, "goal_missed": goal_missed(params.success_distance)},
        metrics={"goal_reaching_err": goal_reaching_err},
    )


TASK = Task(
    name="goal",
    title="Reach a goal",
    kind="goal_directed",
    option="goal_directed",
    config_class=GoalParams,
    config_key="goal_params",
    build=build,
    metric="goal_reaching_err",
    unit="m",
    statistic="last",
    failure_rule=lambda params: (
        f"the pelvis is over {params.success_distance:g} m from the goal at the deadline, or a fall"
    ),
    modality=GOAL,
    mixes=True,
    reward_weights=lambda params: params.reward_weights,
    command_ranges=lambda params: {
        "goal_distance": (*params.distance, "m"),
        "goal_approach_speed": (params.approach_speed, params.approach_speed, "m/s"),
    },
    reference_seconds=lambda config, params: longest(params),
)
