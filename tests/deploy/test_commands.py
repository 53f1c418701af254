"""Commands in the world frame and the errors that they are measured by."""

import numpy as np
import pytest

from protege.deploy.commands import GoalCommand, PathCommand, SteeringCommand
from protege.deploy.interface import RobotReading

TIMES = [0.5 * (k + 1) for k in range(10)]
DT = 1.0 / 30.0


def at(x: float, y: float, yaw: float) -> RobotReading:
    quat = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    return RobotReading(np.array([x, y, 0.9]), quat, np.zeros(3), np.zeros(3), np.zeros(2), np.zeros(2))


def test_a_straight_path_begins_at_the_robot_and_goes_where_it_faces() -> None:
    here = at(2.0, 1.0, np.pi / 2)
    command = PathCommand.steady(here, 1.2, 0.0, 3.0, TIMES)
    points = command(1.0, here).path_w
    np.testing.assert_allclose(points, [[2.0, 1.0 + 1.2 * (1.0 + t)] for t in TIMES], atol=1e-9)


def test_a_curved_path_is_a_circle() -> None:
    here = at(0.0, 0.0, 0.0)
    command = PathCommand.steady(here, 1.0, 0.5, 8.0, TIMES)
    radius = np.linalg.norm(command.position(np.linspace(0.0, 8.0, 50)) - [0.0, 2.0], axis=1)
    np.testing.assert_allclose(radius, 2.0, atol=0.01)
    assert command(0.0, here).path_w[-1][1] > 1.0  # to the left


def test_random_paths_are_the_seeds_and_within_the_trainings_limits() -> None:
    here = at(1.0, 2.0, 0.3)
    first, again, other = (PathCommand.random(here, seed, 10.0, TIMES) for seed in (1, 1, 2))
    time = np.arange(0.0, 15.0, DT)
    np.testing.assert_array_equal(first.position(time), again.position(time))
    assert np.abs(first.position(time) - other.position(time)).max() > 0.5
    np.testing.assert_allclose(first.position(0.0), [1.0, 2.0])
    velocity = np.diff(first.position(time), axis=0) / DT
    speed, angle = np.linalg.norm(velocity, axis=1), np.unwrap(np.arctan2(velocity[:, 1], velocity[:, 0]))
    assert speed.min() > 0.49 and speed.max() < 1.51
    assert np.abs(np.diff(angle)).max() / DT < 0.85


def test_path_error_by_hand() -> None:
    command = PathCommand.steady(at(0.0, 0.0, 0.0), 1.0, 0.0, 3.0, TIMES)
    roots = np.array([[0.0, 0.0, 0.9], [1.0, 0.3, 0.9], [2.0, 0.0, 0.8], [2.5, 0.0, 0.9]])
    errors = command.errors(np.array([0.0, 1.0, 2.0, 3.0]), roots)
    assert errors == pytest.approx({"path_following_err": 0.2, "path_following_err_max": 0.5})


def test_goal_by_hand() -> None:
    here = at(1.0, 1.0, np.pi / 2)
    command = GoalCommand.ahead(here, (2.0, 1.0))
    np.testing.assert_allclose(command.point, [0.0, 3.0], atol=1e-12)
    assert command.deadline == pytest.approx(2.0 + np.sqrt(5.0) / 0.8)
    assert command(1.0, here).goal_time_left == pytest.approx(command.deadline - 1.0)
    assert command(99.0, here).goal_time_left == 0.0
    time = np.arange(0.0, 8.0, DT)
    roots = np.stack([np.minimum(time, 4.0), 0.0 * time, 0.0 * time], axis=1)
    assert GoalCommand(np.array([4.0, 0.3]), 5.0).errors(time, roots) == pytest.approx({"goal_reaching_err": 0.3})
    late = GoalCommand(np.array([4.0, 0.0]), 3.0).errors(time, roots)["goal_reaching_err"]
    assert late == pytest.approx(1.0, abs=DT)


def test_steering_by_hand() -> None:
    here = at(0.0, 0.0, np.pi / 2)
    command = SteeringCommand.towards(here, -np.pi / 2, 1.5)
    np.testing.assert_allclose(command(0.0, here).steering_direction_w, [1.0, 0.0], atol=1e-12)
    time = np.arange(0.0, 5.0, DT)
    sway = 0.05 * np.sin(2.0 * np.pi * time)  # of a stride a second: no error
    roots = np.stack([1.0 * time + sway, 0.0 * time, 0.0 * time], axis=1)
    assert command.errors(time, roots)["steering_err"] == pytest.approx(0.5, abs=1e-6)
    assert command.errors(time[:40], roots[:40]) == {}
