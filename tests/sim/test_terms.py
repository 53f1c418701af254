"""Rewards, failure rules and metrics against values worked out by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R
from protege.core.robots.robot import Robot
from protege.core.robots.state import RobotState
from protege.core.tasks import tasks
from protege.sim.env_config import EnvConfig
from protege.sim.robots import get_robot
from protege.sim.tasks import goal, path, steering, terms, track
from protege.sim.tasks.locomotion_command import LocomotionCommand
from protege.sim.tasks.terms import Deviation, Scene
from protege.sim.tasks.track import MotionParams

ROBOT = get_robot("smpl")
N = 2


class GivenCommand(LocomotionCommand):
    """A command with given values: one path point, goal, direction (rad) and speed for all envs."""

    def __init__(
        self, *, path=(0.0, 0.0), goal=(0.0, 0.0), direction=0.0, speed=0.0, settled=True, step=0, last_step=300
    ):
        self.given = (path, goal, direction, speed, settled)
        self.reference = SimpleNamespace(floor=None)
        self.step, self.last_step = torch.full((N,), step), torch.full((N,), last_step)

    def draw_plans(self, count, generator):
        raise AssertionError("nothing is drawn")

    def point_w(self):
        return torch.tensor(self.given[0]).expand(N, 2)

    def end_w(self):
        return torch.tensor(self.given[1]).expand(N, 2)

    def direction_and_speed(self):
        angle, speed = self.given[2:4]
        return torch.tensor([math.cos(angle), math.sin(angle)]).expand(N, 2), torch.full((N,), speed)

    def settled(self):
        return torch.full((N,), self.given[4])


def upright(robot: Robot = ROBOT) -> RobotState:
    """Two robots, every body at (0, 0, 1), still."""
    b, j = robot.num_bodies, robot.num_joints
    pos, quat = torch.zeros(N, b, 3), torch.zeros(N, b, 4)
    pos[..., 2], quat[..., 0] = 1.0, 1.0
    return RobotState(torch.zeros(N, j), torch.zeros(N, j), pos, quat, torch.zeros(N, b, 3), torch.zeros(N, b, 3))


def scene(command: LocomotionCommand | None = None, robot: Robot = ROBOT) -> Scene:
    """The trail is of a second."""
    dt, state, reference = robot.control_dt, upright(robot), upright(robot)
    trail = torch.zeros(N, round(1 / dt) + 1, 2)
    still = {name: torch.zeros(N) for name in ("action_rate", "foot_slip", "power")}
    return Scene(state, reference, Deviation.of(state, reference), command or GivenCommand(), trail, dt, robot, still)


def value_of[T](term: Callable[[Scene], T], s: Scene) -> T:
    """Of a scene whose states have been changed since it was made."""
    return term(replace(s, deviation=Deviation.of(s.state, s.reference)))


def values(term, s: Scene) -> Any:
    return pytest.approx(value_of(term, s).tolist())


# Rewards -----------------------------------------------------------------------------------------------------------------


REWARDS = {**path.REWARDS, **goal.REWARDS, **steering.REWARDS}


@pytest.mark.parametrize("name", REWARDS)
def test_a_perfect_env_earns_the_whole_reward(robot, name):
    assert len(REWARDS) == 21
    assert values(REWARDS[name], scene(robot=robot)) == [1.0, 1.0]


def test_body_position_is_a_mean_of_squares():
    s = scene()
    s.state.body_pos_w[1, 0, 0] += 0.3  # one of 24 bodies
    s.state.body_pos_w[0] += torch.tensor([0.03, 0.0, 0.04])  # all of them by 5 cm
    assert values(terms.body_pos, s) == [math.exp(-100 * 0.05**2), math.exp(-100 * 0.09 / 24)]
    near = [math.exp(-1000 * 0.05**2), math.exp(-1000 * 0.09 / 24)]
    assert value_of(terms.body_pos_near, s).tolist() == pytest.approx(
        near, rel=1e-5
    )  # the rounding of 1 m in float32, magnified
    assert values(terms.body_pos_far, s) == [math.exp(-10 * 0.05**2), math.exp(-10 * 0.09 / 24)]


def test_what_a_robot_senses_of_itself(robot):
    s = scene(robot=robot)
    s.state.body_quat_w[1, 0] = R.from_rotation_vector(torch.tensor([0.0, 0.5, 0.0]))
    s.state.body_quat_w[0, 0] = R.from_yaw(torch.tensor(2.0))  # is upright still
    assert values(terms.upright, s) == [1.0, math.cos(0.5)]
    told = {"action_rate": torch.tensor([2.0, 0.0]), "foot_slip": torch.tensor([0.3, 0.1])}
    s = replace(s, motion_quality=told | {"power": torch.tensor([1.0, 5.0])})
    assert values(terms.steady_targets, s) == [math.exp(-0.4), 1.0]
    assert values(terms.planted_feet, s) == [math.exp(-0.9), math.exp(-0.1)]
    assert values(terms.low_power, s) == [math.exp(-0.2), math.exp(-1.0)]


def test_body_rotation_is_a_mean_of_squared_angles():
    s = scene()
    s.state.body_quat_w[1, :12] = R.from_yaw(torch.tensor(0.4))
    assert values(terms.body_rot, s) == [1.0, math.exp(-10 * 0.16 / 2)]
    s.state.body_quat_w *= -1.0  # the same rotations
    assert values(terms.body_rot, s) == [1.0, math.exp(-10 * 0.16 / 2)]


def test_rewards_with_slopes_that_do_not_vanish():
    """0.4 m and 0.5 rad off on all bodies, and 1 m and 2 rad: nearly as many metres and radians less."""
    s = scene()
    s.state.body_pos_w[0, :, 0] += 0.4
    s.state.body_pos_w[1, :, 0] += 1.0
    soft = [math.hypot(x, 0.03) - 0.03 for x in (0.4, 1.0)]
    assert value_of(terms.body_distance, s).tolist() == pytest.approx([1.0 - x for x in soft], abs=1e-6)
    s.state.body_quat_w[0], s.state.body_quat_w[1] = (R.from_yaw(torch.tensor(x)) for x in (0.5, -2.0))
    turned = [2.0 * (math.hypot(2.0 * math.sin(x / 4.0), 0.05) - 0.05) for x in (0.5, 2.0)]
    assert value_of(terms.body_turn, s).tolist() == pytest.approx([1.0 - x for x in turned], abs=1e-6)
    s.state.body_lin_vel_w[1, 0] = torch.tensor([0.3, -0.4, 0.0])
    s.reference.body_ang_vel_w[0, 0] = torch.tensor([0.0, 0.0, 2.0])
    assert values(terms.root_velocity, s) == [1.0 - 0.8, 1.0 - 0.25]
    s.state.joint_vel[0] += 2.0
    assert values(terms.joint_velocity, s) == [-3.0, 1.0]


@pytest.mark.parametrize("name", terms.TRACKING)
def test_rewards_have_a_slope_everywhere(robot, name):
    """Also where there is no error at all: a gradient is zero there, and not NaN."""
    s = scene(robot=robot)
    moved = [s.state.body_pos_w, s.state.body_quat_w, s.state.body_lin_vel_w, s.state.body_ang_vel_w, s.state.joint_vel]
    for x in moved:
        x.requires_grad_()
    s.deviation = Deviation.of(s.state, s.reference)
    gradients = torch.autograd.grad(terms.TRACKING[name](s).sum(), moved, allow_unused=True)
    assert all(x is None or x.isfinite().all() for x in gradients)


def test_body_velocities():
    s = scene()
    s.state.body_lin_vel_w[1] = torch.tensor([1.0, -2.0, 0.0])
    s.reference.body_ang_vel_w[0] = torch.tensor([0.0, 0.0, 3.0])
    assert values(terms.body_lin_vel, s) == [1.0, math.exp(-0.5 * 5.0)]
    assert values(terms.body_ang_vel, s) == [math.exp(-0.1 * 9.0), 1.0]


def test_path_and_goal_rewards_see_the_pelvis_on_the_ground():
    s = scene(GivenCommand(path=(0.3, 0.4), goal=(0.0, 2.0)))
    s.state.body_pos_w[1, 0] = torch.tensor([0.3, 0.4, 9.0])
    assert values(path.path_position, s) == [math.exp(-10 * 0.25), 1.0]
    assert values(goal.goal_closeness, s) == [math.exp(-4.0), math.exp(-2.0 * math.hypot(0.3, 1.6))]


def soft(length: float, within: float) -> float:
    """A length that is round within so much of nothing."""
    return math.hypot(length, within) - within


def test_nearness_falls_with_the_distance_on_the_ground():
    s = scene(GivenCommand(path=(0.3, 0.4), goal=(0.0, 2.0)))
    s.state.body_pos_w[1, 0] = torch.tensor([0.3, 0.4, 9.0])
    assert values(path.path_nearness, s) == [1 - soft(0.5, 0.03), 1.0]
    assert values(goal.goal_nearness, s) == [1 - soft(2.0, 0.03), 1 - soft(math.hypot(0.3, 1.6), 0.03)]


def test_steering_nearness_compares_velocities_and_headings():
    s = scene(GivenCommand(direction=math.pi / 2, speed=1.0))
    s.state.body_lin_vel_w[1, 0] = torch.tensor([0.3, 1.4, -3.0])
    s.state.body_quat_w[1, 0] = R.from_yaw(torch.tensor(math.pi / 2 - 0.6))
    assert values(steering.velocity_nearness, s) == [1 - soft(1.0, 0.2), 1 - soft(0.5, 0.2)]
    wanted = [1 - soft(2 * math.sin(math.pi / 4), 0.05), 1 - soft(2 * math.sin(0.3), 0.05)]
    assert values(steering.heading_nearness, s) == wanted


def test_heading_nearness_is_finite_where_nothing_faces_anywhere():
    """Lying on its back, a robot has no heading."""
    s = scene(GivenCommand(direction=1.0, speed=1.0))
    s.state.body_quat_w[:, 0] = torch.tensor([0.5**0.5, 0.0, 0.5**0.5, 0.0])
    quat = s.state.body_quat_w.requires_grad_()
    (slope,) = torch.autograd.grad(steering.heading_nearness(s).sum(), quat)
    assert slope.isfinite().all()


NEW = {
    name: REWARDS[name]
    for name in ("body_distance", "path_nearness", "goal_nearness", "velocity_nearness", "heading_nearness")
}


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize("off", [0.05, 3.0])
def test_slopes_are_those_of_finite_differences_and_do_not_vanish(robot, name, off):
    s = scene(GivenCommand(path=(off, 0.0), goal=(off, 0.0), direction=min(off, 1.6), speed=off), robot)
    s.reference.body_pos_w[..., 0] += off
    parts = ("body_pos_w", "body_quat_w", "body_lin_vel_w")
    values = [getattr(s.state, part).double() for part in parts]
    directions = [torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(0)) for x in values]

    def at(step: float | torch.Tensor) -> torch.Tensor:
        moved = {p: x + step * d for p, x, d in zip(parts, values, directions, strict=True)}
        moved["body_quat_w"] = R.normalize(moved["body_quat_w"])
        return value_of(NEW[name], replace(s, state=replace(s.state, **moved))).sum()

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(at(step), step)
    torch.testing.assert_close(slope, (at(1e-6) - at(-1e-6)) / 2e-6, atol=1e-6, rtol=1e-5)
    leaves = [x.clone().requires_grad_() for x in values]
    now = replace(s, state=replace(s.state, **dict(zip(parts, leaves, strict=True))))
    slopes = torch.autograd.grad(value_of(NEW[name], now)[0], leaves, allow_unused=True)
    steepest = max(x[0].sum(0).norm().item() for x in slopes if x is not None)
    assert steepest > 0.2  # off by 5 cm or by 3 m, of 5 cm/s or of 3 m/s


def test_steering_reward_compares_horizontal_velocities_in_the_world_frame():
    s = scene(GivenCommand(direction=math.pi / 2, speed=1.0))
    s.state.body_lin_vel_w[1, 0] = torch.tensor([0.5, 1.0, -3.0])
    assert values(steering.steering_velocity, s) == [math.exp(-4.0), math.exp(-4.0 * 0.25)]


def test_unknown_rewards_are_named_with_their_key():
    with pytest.raises(UserError, match=r"env\.track\.rewards: unknown reward term 'style'\. Known: body_"):
        MotionParams(rewards={"body_pos": 1.0, "style": 2.0}).check("env.track")


# Failure rules -----------------------------------------------------------------------------------------------------------


def fails(rule, s: Scene) -> list[bool]:
    return value_of(rule, s).tolist()


@pytest.mark.parametrize(
    ("name", "body", "limit"),
    [("smpl", "Pelvis", 0.6), ("smpl", "Head", 0.7), ("g1", "pelvis", 0.6), ("g1", "torso_link", 0.7)],
)
def test_a_fall_is_the_pelvis_or_what_holds_the_head_too_low(name, body, limit):
    robot = get_robot(name)
    s = scene(robot=robot)
    index = robot.body_names.index(body)
    s.state.body_pos_w[:, index, 2] = torch.tensor([limit + 0.01, limit - 0.01])
    assert fails(terms.fallen, s) == [False, True]
    s.reference.body_pos_w[:, index, 2] = 0.5  # a robot that lies down like its reference has not fallen
    assert fails(terms.fallen, s) == [False, False]


def test_a_path_is_lost_beyond_its_distance():
    s = scene(GivenCommand(path=(0.0, 1.0)))
    s.state.body_pos_w[:, 0, 1] = torch.tensor([-0.99, -1.01])
    assert fails(path.off_path(2.0), s) == [False, True]


def test_a_goal_is_missed_only_at_the_deadline():
    far = [scene(GivenCommand(goal=(0.0, 0.0), step=step, last_step=100)) for step in (99, 100)]
    for s in far:
        s.state.body_pos_w[:, 0, 0] = torch.tensor([0.49, 0.51])
    assert [fails(goal.goal_missed(0.5), s) for s in far] == [[False, False], [False, True]]


def test_a_heading_is_off_only_once_settled():
    s = scene(GivenCommand(direction=math.radians(170.0)))
    s.state.body_quat_w[:, 0] = R.from_yaw(torch.deg2rad(torch.tensor([-146.0, -144.0])))  # 44 and 46 degrees off
    assert fails(steering.heading_off(math.radians(45.0)), s) == [False, True]
    s.command = GivenCommand(direction=math.radians(170.0), settled=False)
    assert fails(steering.heading_off(math.radians(45.0)), s) == [False, False]


def test_bodies_and_roots_are_off_beyond_their_distance():
    s = scene()
    s.state.body_pos_w[1, 5, 0] += 0.6
    assert fails(terms.any_body_off(0.5), s) == [False, True]
    assert fails(terms.mean_body_off(0.5), s) == [False, False]
    s.state.body_pos_w[0] += torch.tensor([0.0, 0.0, 0.6])
    assert fails(terms.mean_body_off(0.5), s) == [True, False]
    assert fails(terms.root_off(0.5), s) == [False, False]  # only upwards
    s.state.body_pos_w[1, 0, 1] += 0.6
    assert fails(terms.root_off(0.5), s) == [False, True]


# Metrics -----------------------------------------------------------------------------------------------------------------


def measured(metric, s: Scene) -> Any:
    value, weight = value_of(metric, s)
    return pytest.approx(value.tolist()), weight.tolist()


def test_cartesian_error_is_the_mean_distance_of_the_bodies():
    s = scene()
    s.state.body_pos_w[1, :6, 0] += 0.4
    assert measured(track.cartesian_err, s) == ([0.0, 0.1], [1.0, 1.0])


def test_path_error_is_measured_always_and_goal_error_at_the_deadline():
    s = scene(GivenCommand(path=(3.0, 4.0), goal=(0.0, 0.5), step=99, last_step=100))
    assert measured(path.path_following_err, s) == ([5.0, 5.0], [1.0, 1.0])
    assert measured(goal.goal_reaching_err, s) == ([0.5, 0.5], [0.0, 0.0])
    s.command.step += 1
    assert measured(goal.goal_reaching_err, s)[1] == [1.0, 1.0]


def test_steering_error_is_that_of_the_last_seconds_travel(robot):
    rate = round(1.0 / robot.control_dt)
    s = scene(GivenCommand(direction=0.0, speed=1.0, step=rate + 1), robot)
    s.trail[1, :, 0] = torch.linspace(0.0, 1.2, rate + 1)
    s.trail[1, rate // 2, 1] = 0.3  # sway, gone half a second later
    assert measured(steering.steering_err, s) == ([1.0, 0.2], [1.0, 1.0])
    s.command = GivenCommand(direction=0.0, speed=1.0, step=rate)  # not yet a second
    assert measured(steering.steering_err, s)[1] == [0.0, 0.0]
    s.command = GivenCommand(direction=0.0, speed=1.0, step=rate + 1, settled=False)
    assert measured(steering.steering_err, s)[1] == [0.0, 0.0]


def test_instant_steering_error_includes_the_sway():
    s = scene(GivenCommand(direction=0.0, speed=1.0))
    s.state.body_lin_vel_w[:, 0] = torch.tensor([1.0, 0.2, 0.5])
    assert measured(steering.steering_err_instant, s) == ([0.2, 0.2], [1.0, 1.0])


# Task definitions --------------------------------------------------------------------------------------------------------


def test_the_numbers_of_the_tasks_are_the_published_ones():
    config = EnvConfig()
    assert config.path_follower_params.speed == (0.5, 1.5)
    assert (config.goal_params.distance, config.goal_params.approach_speed) == ((1.0, 4.0), 0.8)
    assert config.goal_params.success_distance == 0.5
    params = config.steering_params
    assert (params.speed, params.change_time, params.settle_time) == ((0.0, 1.5), (3.0, 6.0), 2.0)
    assert params.when(evaluation=True) == params
    assert params.max_heading_error == pytest.approx(math.radians(45.0))
    assert set(tasks()) == {"track", "masked_mimic", "path", "goal", "steering"}
