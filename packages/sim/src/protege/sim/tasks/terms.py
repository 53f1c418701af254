"""Terms that several tasks share. Each maps a `Scene` of n envs to one number per env. Other terms are in their task's file.

Rewards are at most 1. Terminations are bool. Metrics give (value, weight); an episode's metric is their weighted mean.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from protege.core import checks
from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .command import Command


@dataclass
class Deviation:
    """How far n robots are from their references.

    Attributes:
        distance: (n, B) m, of each body.
        mean_distance: (n,) m, its mean.
        squared_distance: (n,) m², the mean of its square.
        squared_angle: (n,) rad², mean squared angle of the bodies.
        squared_lin_vel: (n,) m²/s², mean squared difference of the bodies' velocities.
        squared_ang_vel: (n,) rad²/s², mean squared difference of the bodies' angular velocities.
    """

    distance: Tensor
    mean_distance: Tensor
    squared_distance: Tensor
    squared_angle: Tensor
    squared_lin_vel: Tensor
    squared_ang_vel: Tensor

    @classmethod
    def of(cls, state: RobotState, reference: RobotState) -> Self:
        """The deviation of robots in `state` (n, ...)."""
        squared = _squared(state.body_pos_w, reference.body_pos_w)
        distance = squared.sqrt()
        return cls(
            distance=distance,
            mean_distance=distance.mean(-1),
            squared_distance=squared.mean(-1),
            squared_angle=R.angle_between(state.body_quat_w, reference.body_quat_w).square().mean(-1),
            squared_lin_vel=_squared(state.body_lin_vel_w, reference.body_lin_vel_w).mean(-1),
            squared_ang_vel=_squared(state.body_ang_vel_w, reference.body_ang_vel_w).mean(-1),
        )

    def __getitem__(self, rows: slice) -> Self:
        """The deviation of some of the robots, as views."""
        return type(self)(*(getattr(self, f.name)[rows] for f in fields(self)))


def _squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared lengths of the differences of vectors, (n, B, 3), (n, B, 3) -> (n, B)."""
    return mse_loss(a, b, reduction="none").sum(-1)


@dataclass
class Scene:
    """The inputs of terms, for the n envs of one task.

    Attributes:
        state: the robots now.
        reference: the reference's state, shifted by the command.
        deviation: of the robots from the reference.
        command: the task's command.
        trail: (n, S, 2) m, the roots' horizontal positions over the last second, newest last.
        dt: control period, s.
        robot: the robot's description.
        motion_quality: (n,) each, how gently the robots moved in the last control step, by the names in `MOTION_QUALITY`; empty
            where it is not measured.
    """

    state: RobotState
    reference: RobotState
    deviation: Deviation
    command: Command
    trail: Tensor
    dt: float
    robot: Robot
    motion_quality: Mapping[str, Tensor] = field(default_factory=dict)

    def height(self, state: RobotState) -> Tensor:
        """Heights of bodies above the ground, (n, B) m."""
        floor = self.command.reference.floor
        return (state.body_pos_w if floor is None else floor.above(state.body_pos_w))[..., 2]


SOFT_DISTANCE, SOFT_TURN = 0.03, 0.05
"""m, rad / 2: `body_distance` and `body_turn` are smooth within this distance of zero error."""

Term = Callable[[Scene], Tensor]
Metric = Callable[[Scene], tuple[Tensor, Tensor]]


# Rewards ---------------------------------------------------------------------------------------------------------------


def body_pos(scene: Scene) -> Tensor:
    """exp(-100 x mean squared distance of the bodies from the reference), m²."""
    return torch.exp(-100.0 * scene.deviation.squared_distance)


def body_pos_near(scene: Scene) -> Tensor:
    """exp(-1000 x mean squared distance of the bodies from the reference), m²: steep where `body_pos` is already flat."""
    return torch.exp(-1000.0 * scene.deviation.squared_distance)


def body_pos_far(scene: Scene) -> Tensor:
    """exp(-10 x mean squared distance of the bodies from the reference), m²: has a slope where `body_pos` has vanished."""
    return torch.exp(-10.0 * scene.deviation.squared_distance)


def body_rot(scene: Scene) -> Tensor:
    """exp(-10 x mean squared angle of the bodies from the reference), rad²."""
    return torch.exp(-10.0 * scene.deviation.squared_angle)


def body_lin_vel(scene: Scene) -> Tensor:
    """exp(-0.5 x mean squared difference of the bodies' velocities), m²/s²."""
    return torch.exp(-0.5 * scene.deviation.squared_lin_vel)


def body_ang_vel(scene: Scene) -> Tensor:
    """exp(-0.1 x mean squared difference of the bodies' angular velocities), rad²/s²."""
    return torch.exp(-0.1 * scene.deviation.squared_ang_vel)


def body_distance(scene: Scene) -> Tensor:
    """1 minus the mean distance of the bodies from the reference, m: the slope is the same near and far."""
    return 1.0 - length(scene.state.body_pos_w - scene.reference.body_pos_w, SOFT_DISTANCE).mean(-1)


def body_turn(scene: Scene) -> Tensor:
    """1 minus the mean angle of the bodies from the reference, rad: the slope is the same near and far."""
    cosine = (scene.state.body_quat_w * scene.reference.body_quat_w).sum(-1).abs()
    # |q - r| is twice the sine of a quarter of the angle: this avoids the arc cosine, whose slope is infinite at zero.
    return 1.0 - 2.0 * ((2.0 - 2.0 * cosine + SOFT_TURN**2).clamp_min(0.0).sqrt() - SOFT_TURN).mean(-1)


def root_velocity(scene: Scene) -> Tensor:
    """1 minus the squared error of the root's velocity, m²/s², and a fifth of that of its angular velocity, rad²/s²."""
    now, reference = scene.state, scene.reference
    linear = (now.root_lin_vel_w - reference.root_lin_vel_w).square().sum(-1)
    return 1.0 - linear - 0.2 * (now.root_ang_vel_w - reference.root_ang_vel_w).square().sum(-1)


def joint_velocity(scene: Scene) -> Tensor:
    """1 minus the mean squared difference of the joints' velocities from the reference's, rad²/s²."""
    return 1.0 - (scene.state.joint_vel - scene.reference.joint_vel).square().mean(-1)


def upright(scene: Scene) -> Tensor:
    """Cosine of the root's tilt."""
    _, x, y, _ = scene.state.root_quat_w.unbind(-1)
    return 1.0 - 2.0 * (x.square() + y.square())


def steady_targets(scene: Scene) -> Tensor:
    """exp(-0.1 x squared rate of the joints' targets, root mean square over them), rad²/s²."""
    return torch.exp(-0.1 * scene.motion_quality["action_rate"].square())


def planted_feet(scene: Scene) -> Tensor:
    """exp(-10 x squared speed of the feet along the ground while they touch it), m²/s²."""
    return torch.exp(-10.0 * scene.motion_quality["foot_slip"].square())


def low_power(scene: Scene) -> Tensor:
    """exp(-0.2 x the joints' power to the robot's weight), W/N, which is m/s: of one who walks, so many times the speed."""
    return torch.exp(-0.2 * scene.motion_quality["power"])


MOTION_QUALITY: dict[str, Term] = {
    "steady_targets": steady_targets,
    "planted_feet": planted_feet,
    "low_power": low_power,
}
"""Rewards for moving gently, by name. Only simulated envs have them: they measure `Scene.motion_quality` if one has a weight."""

TRACKING: dict[str, Term] = {
    "body_distance": body_distance,
    "body_turn": body_turn,
    "root_velocity": root_velocity,
    "joint_velocity": joint_velocity,
    "body_pos": body_pos,
    "body_pos_near": body_pos_near,
    "body_pos_far": body_pos_far,
    "body_rot": body_rot,
    "body_lin_vel": body_lin_vel,
    "body_ang_vel": body_ang_vel,
}
"""Rewards for matching the reference, by name."""

SENSED: dict[str, Term] = {"upright": upright, **MOTION_QUALITY}
"""Rewards of walking tasks for what a robot without a reference can know of itself, by name."""

TRACKING_WEIGHTS = {"body_pos": 0.5, "body_rot": 0.3, "body_lin_vel": 0.1, "body_ang_vel": 0.1}
"""The default weights of every task; its own rewards are added."""


def weighted(weights: Mapping[str, float], terms: Mapping[str, Term]) -> dict[str, tuple[float, Term]]:
    """The reward terms whose weight is not 0, with their weights."""
    return {name: (weight, terms[name]) for name, weight in weights.items() if weight}


def check_rewards(params: Any, key: str, terms: Mapping[str, Term]) -> None:
    """Check that `params.rewards` has weights of known terms only, each within bounds.

    Raises:
        UserError: a term is unknown or a weight out of bounds; it names the key.
    """
    if unknown := set(params.rewards) - set(terms):
        raise UserError(f"{key}.rewards: unknown reward term {min(unknown)!r}", f"Known: {', '.join(terms)}")
    checks.within(-checks.MAX_NUMBER, checks.MAX_NUMBER, params, key, "rewards")


# Quantities ------------------------------------------------------------------------------------------------------------


def length(error: Tensor, soft: float) -> Tensor:
    """Soft lengths of vectors (..., 2 or 3), in their unit: sqrt(length² + soft²) - soft. The slope is 1 far off and 0 at zero."""
    return (error.square().sum(-1) + soft**2).sqrt() - soft


# Terminations ----------------------------------------------------------------------------------------------------------


def fallen(scene: Scene) -> Tensor:
    """The root or the head is below a share of its height above the ground in the reference; see `Robot.fallen_root`."""
    robot = scene.robot
    head = robot.body_names.index(robot.head)
    z, reference = (scene.height(state) for state in (scene.state, scene.reference))
    return (z[:, 0] < robot.fallen_root * reference[:, 0]) | (z[:, head] < robot.fallen_head * reference[:, head])


def any_body_off(distance: float) -> Term:
    """Any body is further than `distance` (m) from the reference."""
    return lambda scene: scene.deviation.distance.amax(-1) > distance


def mean_body_off(distance: float) -> Term:
    """The mean distance of the bodies from the reference exceeds `distance` (m)."""
    return lambda scene: scene.deviation.mean_distance > distance


def root_off(distance: float) -> Term:
    """The root is horizontally further than `distance` (m) from the reference's."""
    return lambda scene: (scene.state.root_pos_w - scene.reference.root_pos_w)[:, :2].norm(dim=-1) > distance


def out_of_step(distance: float) -> dict[str, Term]:
    """The termination that walking tasks have in addition to their own: a body is over `distance` (m) off; 0: none."""
    return {"out_of_step": any_body_off(distance)} if distance > 0.0 else {}
