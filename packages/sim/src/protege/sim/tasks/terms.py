"""Reward, termination and metric terms: each a few lines, from a `Scene` of N worlds to one number a world.

Rewards lie in [0, 1]; terminations are bool; metrics give (value, weight), and an episode's metric is their weighted mean.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState

from .command import Command
from .locomotion_command import LocomotionCommand
from .path_clock import PathClock


@dataclass
class Scene:
    """All that terms may look at, for the n worlds of one task.

    Attributes:
        state: the robots now.
        reference: where the reference has them, shifted by the command.
        command: the task's command.
        trail: (n, S, 2) m, the roots' horizontal positions over the last second, newest last.
        dt: control period, s.
        robot: its description.
    """

    state: RobotState
    reference: RobotState
    command: Command
    trail: Tensor
    dt: float
    robot: Robot

    def height(self, state: RobotState) -> Tensor:
        """Of bodies over the ground, (n, B) m."""
        floor = self.command.reference.floor
        return (state.body_pos_w if floor is None else floor.above(state.body_pos_w))[..., 2]

    @property
    def locomotion(self) -> LocomotionCommand:
        assert isinstance(self.command, LocomotionCommand)
        return self.command

    @property
    def path_clock(self) -> PathClock:
        assert self.locomotion.path_clock is not None
        return self.locomotion.path_clock


Term = Callable[[Scene], Tensor]
Metric = Callable[[Scene], tuple[Tensor, Tensor]]


# Rewards ---------------------------------------------------------------------------------------------------------------


def body_pos(scene: Scene) -> Tensor:
    """exp(-100 x mean squared distance of the bodies from the reference), m²."""
    return torch.exp(-100.0 * mean_squared_body_distance(scene))


def body_pos_near(scene: Scene) -> Tensor:
    """exp(-1000 x mean squared distance of the bodies from the reference), m²: steep where `body_pos` is already flat."""
    return torch.exp(-1000.0 * mean_squared_body_distance(scene))


def body_pos_far(scene: Scene) -> Tensor:
    """exp(-10 x mean squared distance of the bodies from the reference), m²: still felt where `body_pos` has long vanished."""
    return torch.exp(-10.0 * mean_squared_body_distance(scene))


def body_rot(scene: Scene) -> Tensor:
    """exp(-10 x mean squared angle of the bodies from the reference), rad²."""
    error = R.angle_between(scene.state.body_quat_w, scene.reference.body_quat_w).square().mean(-1)
    return torch.exp(-10.0 * error)


def body_lin_vel(scene: Scene) -> Tensor:
    """exp(-0.5 x mean squared difference of the bodies' velocities), m²/s²."""
    error = (scene.state.body_lin_vel_w - scene.reference.body_lin_vel_w).square().sum(-1).mean(-1)
    return torch.exp(-0.5 * error)


def body_ang_vel(scene: Scene) -> Tensor:
    """exp(-0.1 x mean squared difference of the bodies' angular velocities), rad²/s²."""
    error = (scene.state.body_ang_vel_w - scene.reference.body_ang_vel_w).square().sum(-1).mean(-1)
    return torch.exp(-0.1 * error)


def path_position(scene: Scene) -> Tensor:
    """exp(-10 x squared distance of the pelvis from the path's point of this time), m²."""
    return torch.exp(-10.0 * path_distance(scene).square())


def goal_closeness(scene: Scene) -> Tensor:
    """exp(-distance from the goal / 0.5 m), times two: dense far away, steep close to it."""
    return torch.exp(-2.0 * goal_distance(scene))


def steering_velocity(scene: Scene) -> Tensor:
    """exp(-4 x squared difference of the root's horizontal velocity from the commanded one), m²/s²."""
    return torch.exp(-4.0 * (scene.state.root_lin_vel_w[:, :2] - commanded_velocity(scene)).square().sum(-1))


REWARDS: dict[str, Term] = {
    "body_pos": body_pos,
    "body_pos_near": body_pos_near,
    "body_pos_far": body_pos_far,
    "body_rot": body_rot,
    "body_lin_vel": body_lin_vel,
    "body_ang_vel": body_ang_vel,
    "path_position": path_position,
    "goal_closeness": goal_closeness,
    "steering_velocity": steering_velocity,
}


# Quantities ------------------------------------------------------------------------------------------------------------


def mean_squared_body_distance(scene: Scene) -> Tensor:
    """Mean squared distance of the bodies from the reference, (n,) m²."""
    return (scene.state.body_pos_w - scene.reference.body_pos_w).square().sum(-1).mean(-1)


def mean_body_distance(scene: Scene) -> Tensor:
    """Mean distance of the bodies from the reference, m."""
    return (scene.state.body_pos_w - scene.reference.body_pos_w).norm(dim=-1).mean(-1)


def path_distance(scene: Scene) -> Tensor:
    """Horizontal distance of the pelvis from the path's point of this time, m."""
    return (scene.state.root_pos_w[:, :2] - scene.locomotion.path_w()).norm(dim=-1)


def goal_distance(scene: Scene) -> Tensor:
    """Horizontal distance of the pelvis from the goal, m."""
    return (scene.state.root_pos_w[:, :2] - scene.locomotion.goal_w()).norm(dim=-1)


def commanded_velocity(scene: Scene) -> Tensor:
    """(n, 2) m/s, world frame."""
    direction, speed = scene.locomotion.steering_command()
    return direction * speed[:, None]


def heading_error(scene: Scene) -> Tensor:
    """Angle between where the root faces and the commanded direction, rad in [0, pi]."""
    direction, _ = scene.locomotion.steering_command()
    wanted = torch.atan2(direction[:, 1], direction[:, 0])
    return R.wrap_angle(R.yaw(scene.state.root_quat_w) - wanted).abs()


# Terminations ----------------------------------------------------------------------------------------------------------


def fallen(scene: Scene) -> Tensor:
    """The root is below 0.6 of its height over the ground in the reference, or the head below 0.7 of its."""
    head = scene.robot.body_names.index(scene.robot.head)
    z, reference = (scene.height(state) for state in (scene.state, scene.reference))
    return (z[:, 0] < 0.6 * reference[:, 0]) | (z[:, head] < 0.7 * reference[:, head])


def any_body_off(distance: float) -> Term:
    """Some body is further than `distance` (m) from the reference."""
    return lambda scene: (scene.state.body_pos_w - scene.reference.body_pos_w).norm(dim=-1).amax(-1) > distance


def mean_body_off(distance: float) -> Term:
    """The bodies are further than `distance` (m) from the reference on average."""
    return lambda scene: mean_body_distance(scene) > distance


def root_off(distance: float) -> Term:
    """The root is horizontally further than `distance` (m) from the reference's."""
    return lambda scene: (scene.state.root_pos_w - scene.reference.root_pos_w)[:, :2].norm(dim=-1) > distance


def off_path(distance: float) -> Term:
    """The pelvis is further than `distance` (m) from the path's point of this time."""
    return lambda scene: path_distance(scene) > distance


def path_lost(scene: Scene) -> Tensor:
    """The path's clock waits for the robot, which has been too far off for too long; see `path_clock`."""
    return scene.path_clock.lost()


def too_late(scene: Scene) -> Tensor:
    """The path's clock waits for the robot, which has not arrived in time; see `path_clock`."""
    return scene.path_clock.late(scene.command.last_step) & ~scene.command.over(scene.state)


def goal_missed(distance: float) -> Term:
    """The deadline has come and the pelvis is further than `distance` (m) from the goal."""
    return lambda scene: (goal_distance(scene) > distance) & (scene.command.step >= scene.command.last_step)


def heading_off(angle: float) -> Term:
    """Settled, yet facing more than `angle` (rad) away from the commanded direction."""
    return lambda scene: (heading_error(scene) > angle) & scene.locomotion.settled()


# Metrics ---------------------------------------------------------------------------------------------------------------


def cartesian_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Mean body position error in the world frame, m."""
    error = mean_body_distance(scene)
    return error, torch.ones_like(error)


def path_following_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Horizontal pelvis distance from the path's point of this time, m."""
    error = path_distance(scene)
    return error, torch.ones_like(error)


def goal_reaching_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Distance from the goal at the deadline, m."""
    return goal_distance(scene), (scene.command.step >= scene.command.last_step).float()


def steering_err(scene: Scene) -> tuple[Tensor, Tensor]:
    """Error of the velocity over the last second (one gait cycle), once settled, m/s.

    A walking pelvis sways at 0.1-0.2 m/s within each stride whatever the command; the mean over a cycle is the speed of travel.
    """
    seconds = (scene.trail.shape[1] - 1) * scene.dt
    velocity = (scene.trail[:, -1] - scene.trail[:, 0]) / seconds
    counts = scene.locomotion.settled() & (scene.command.step >= scene.trail.shape[1])
    return (velocity - commanded_velocity(scene)).norm(dim=-1), counts.float()


def steering_err_instant(scene: Scene) -> tuple[Tensor, Tensor]:
    """Error of the pelvis' velocity at this moment, sway included, once settled, m/s."""
    error = (scene.state.root_lin_vel_w[:, :2] - commanded_velocity(scene)).norm(dim=-1)
    return error, scene.locomotion.settled().float()
