"""Commands in the world frame and the errors that they are measured by."""

import tracemalloc

import numpy as np
import pytest

from protege.deploy.commands.goal import GoalCommand
from protege.deploy.commands.path import PathCommand
from protege.deploy.commands.path_clock import clock_rate
from protege.deploy.commands.steering import SteeringCommand
from protege.deploy.interface import RobotReading, standing_command

TIMES = [0.5 * (k + 1) for k in range(10)]
DT = 1.0 / 30.0


def at(x: float, y: float, yaw: float) -> RobotReading:
    quat = np.array([np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)])
    return RobotReading(np.array([x, y, 0.9]), quat, np.zeros(3), np.zeros(3), np.zeros(2), np.zeros(2))


def test_a_straight_path_begins_at_the_robot_and_goes_where_it_faces() -> None:
    here = at(2.0, 1.0, np.pi / 2)
    command = PathCommand.arc(here.pose_2d, 1.2, 0.0, 3.0 + TIMES[-1], TIMES)
    points = command(1.0, here).path_w
    np.testing.assert_allclose(points, [[2.0, 1.0 + 1.2 * (1.0 + t)] for t in TIMES], atol=1e-9)


def test_a_curved_path_is_a_circle() -> None:
    here = at(0.0, 0.0, 0.0)
    command = PathCommand.arc(here.pose_2d, 1.0, 0.5, 8.0 + TIMES[-1], TIMES)
    radius = np.linalg.norm(command.position(np.linspace(0.0, 8.0, 50)) - [0.0, 2.0], axis=1)
    np.testing.assert_allclose(radius, 2.0, atol=0.01)
    assert command(0.0, here).path_w[-1][1] > 1.0  # to the left


def test_a_point_of_an_hours_path_is_found_without_copying_the_path():
    command = PathCommand.arc(at(0.0, 0.0, 0.0).pose_2d, 1.0, 0.2, 3600.0, TIMES)
    np.testing.assert_allclose(command.position(1800.0), [5.0 * np.sin(360.0), 5.0 * (1.0 - np.cos(360.0))], atol=0.02)
    tracemalloc.start()
    command.position(1800.0)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10_000, "bytes; the path has 432 000 points"


def test_random_paths_depend_on_the_seed_and_stay_within_the_trainings_limits() -> None:
    here = at(1.0, 2.0, 0.3)
    first, again, other = (PathCommand.random(here.pose_2d, seed, 10.0, TIMES) for seed in (1, 1, 2))
    time = np.arange(0.0, 15.0, DT)
    np.testing.assert_array_equal(first.position(time), again.position(time))
    assert np.abs(first.position(time) - other.position(time)).max() > 0.5
    np.testing.assert_allclose(first.position(0.0), [1.0, 2.0])
    velocity = np.diff(first.position(time), axis=0) / DT
    speed, angle = np.linalg.norm(velocity, axis=1), np.unwrap(np.arctan2(velocity[:, 1], velocity[:, 0]))
    assert speed.min() > 0.49 and speed.max() < 1.51
    assert np.abs(np.diff(angle)).max() / DT < 0.85


def test_the_clock_slows_down_in_proportion_and_stops_at_60_cm() -> None:
    rates = [clock_rate(distance) for distance in (0.0, 0.15, 0.3, 0.6, 5.0)]
    assert rates == pytest.approx([1.0, 0.75, 0.5, 0.0, 0.0])


def test_a_path_waits_for_a_robot_behind_or_beside_it_but_not_ahead() -> None:
    """One second at 1 m/s along x from the point (0, 0), by where the robot is then: by hand."""
    for x, y, expected in (
        (0.0, 0.0, 1.0),
        (-0.3, 0.0, 0.5),
        (0.0, 0.15, 0.75),
        (-0.6, 0.0, 0.0),
        (0.9, 0.0, 1.0),
        (0.9, -0.3, 0.5),
    ):
        command = PathCommand.arc(at(0.0, 0.0, 0.0).pose_2d, 1.0, 0.0, 3.0 + TIMES[-1], TIMES)
        points = command(1.0, at(x, y, 0.0)).path_w
        np.testing.assert_allclose(points, [[expected + t, 0.0] for t in TIMES], atol=1e-9)


def test_a_path_is_given_up_after_two_seconds_more_than_a_metre_off(caplog: pytest.LogCaptureFixture) -> None:
    command = PathCommand.arc(at(0.0, 0.0, 0.0).pose_2d, 1.0, 0.0, 60.0 + TIMES[-1], TIMES)
    # 1.2 m beside it from 0.5 s on, for a moment back at 0.9 m, so that the two seconds begin anew at 2 s.
    off = {0.0: 0.0, 0.5: 1.2, 1.5: 0.9, 2.0: 1.2, 3.9: 1.2, 4.0: 1.25, 5.0: 0.0}
    commanded = {time: command(time, at(0.0, y, 0.0)).path_w is not None for time, y in off.items()}
    assert commanded == {0.0: True, 0.5: True, 1.5: True, 2.0: True, 3.9: True, 4.0: False, 5.0: False}
    assert command.notes == [(4.0, "path given up: 1.2 m off for 2 s")] and command.lost
    assert [record.getMessage() for record in caplog.records] == ["path given up: 1.2 m off for 2 s"]
    assert command(0.0, at(0.0, 0.0, 0.0)).path_w is not None and not command.notes  # another run


def test_a_path_that_has_ended_commands_nothing() -> None:
    command = PathCommand.along(np.array([[0.0, 0.0], [2.0, 0.0]]), 1.0, TIMES)
    # A quarter of a metre behind: 7/12 of full speed. After 2.5 s the clock is at 1.46 s, after 3.5 s at 2.04 s.
    shown = [command(time, at(x, 0.0, 0.0)).path_w is not None for time, x in ((0.0, 0.0), (2.5, -0.25))]
    assert shown == [True, True] and command.rest[1] == pytest.approx(2.0 - 2.5 * 7 / 12)
    assert command(3.5, at(2.5 * 7 / 12 - 0.25, 0.0, 0.0)).empty
    assert command.notes == [(3.5, "path done, 1.5 s late")] and not command.lost


def test_path_error_by_hand() -> None:
    """By the clock that waits: at 1 s the robot is 0.3 m beside the line, so that half a second passes there."""
    command = PathCommand.arc(at(0.0, 0.0, 0.0).pose_2d, 1.0, 0.0, 3.0 + TIMES[-1], TIMES)
    roots = np.array([[0.0, 0.0, 0.9], [1.0, 0.3, 0.9], [2.0, 0.0, 0.8], [2.5, 0.0, 0.9]])
    errors = command.errors(np.array([0.0, 1.0, 2.0, 3.0]), roots)
    off = [0.0, np.hypot(0.5, 0.3), 0.5, 0.0]  # the line's point is at 0, 0.5, 1.5 and 2.5 m
    expected = {"path_following_err": np.mean(off), "path_following_err_max": max(off), "path_lag": 0.5}
    assert errors == pytest.approx(expected, abs=1e-9)


def test_goal_by_hand() -> None:
    here = at(1.0, 1.0, np.pi / 2)
    command = GoalCommand.ahead(here.pose_2d, (2.0, 1.0))
    np.testing.assert_allclose(command.point, [0.0, 3.0], atol=1e-12)
    assert command.deadline == pytest.approx(2.0 + np.sqrt(5.0) / 0.8)
    assert command(1.0, here).goal_time_left == pytest.approx(command.deadline - 1.0)
    assert command(99.0, here).goal_time_left == 0.0
    time = np.arange(0.0, 8.0, DT)
    roots = np.stack([np.minimum(time, 4.0), 0.0 * time, 0.0 * time], axis=1)
    assert GoalCommand(np.array([4.0, 0.3]), 5.0).errors(time, roots) == pytest.approx({"goal_reaching_err": 0.3})
    late = GoalCommand(np.array([4.0, 0.0]), 3.0).errors(time, roots)["goal_reaching_err"]
    assert late == pytest.approx(1.0, abs=DT)


def test_a_far_goal_is_clamped_to_the_trainings_distance() -> None:
    command = GoalCommand(np.array([0.0, 10.0]), 2.0 + 10.0 / 0.8, 4.0)
    far = command(0.0, at(0.0, 0.0, 0.0))
    np.testing.assert_allclose(far.goal_w, [0.0, 4.0])
    assert far.goal_time_left == pytest.approx(2.0 + 4.0 / 0.8)
    np.testing.assert_allclose(command(1.0, at(3.0, 6.0, 0.0)).goal_w, [3.0 - 4.0 * 0.6, 6.0 + 4.0 * 0.8])
    near = command(10.0, at(0.0, 7.0, 0.0))
    np.testing.assert_array_equal(near.goal_w, [0.0, 10.0])
    assert near.goal_time_left == pytest.approx(2.0 + 10.0 / 0.8 - 10.0)


def test_the_standing_command_uses_a_modality_of_the_policy() -> None:
    here = at(2.0, 1.0, np.pi / 2)
    steered, sent, led = (
        standing_command(here, names, 10) for names in (["path", "steering"], ["path", "goal"], ["path"])
    )
    np.testing.assert_allclose(steered.steering_direction_w, [0.0, 1.0], atol=1e-12)
    assert steered.steering_speed == 0.0 and [*steered.inputs] == ["steering"]
    assert [*sent.inputs] == ["goal"] and sent.goal_time_left == 0.0
    np.testing.assert_array_equal(sent.goal_w, [2.0, 1.0])
    np.testing.assert_array_equal(led.path_w, [[2.0, 1.0]] * 10)
    assert standing_command(here, [], 0).empty


def test_steering_by_hand() -> None:
    here = at(0.0, 0.0, np.pi / 2)
    command = SteeringCommand(here.pose_2d.direction(-90.0), 1.5)
    np.testing.assert_allclose(command(0.0, here).steering_direction_w, [1.0, 0.0], atol=1e-12)
    time = np.arange(0.0, 5.0, DT)
    sway = 0.05 * np.sin(2.0 * np.pi * time)  # of a stride a second: no error
    roots = np.stack([1.0 * time + sway, 0.0 * time, 0.0 * time], axis=1)
    assert command.errors(time, roots)["steering_err"] == pytest.approx(0.5, abs=1e-6)
    assert command.errors(time[:40], roots[:40]) == {}
