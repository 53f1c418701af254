"""Measures of clips, on clips whose faults are known."""

import numpy as np
import pytest

from protege.core.motions import Clip
from protege.core.robots.robot import Robot
from protege.sim.motions.ground import put_on_ground
from protege.sim.motions.inspect import (
    CONTACT_HEIGHT,
    floor_penetration,
    foot_slide,
    inspect,
    joint_limits,
    root_jump,
    summary,
    turns,
    velocity_jump,
)
from protege.sim.motions.surface import trace
from protege.sim.motions.verdict import assess
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")
DT = 1.0 / 50.0


def standing(frames: int = 20, robot: Robot = ROBOT) -> Clip:
    """Upright on the ground, still, all joints at zero."""
    pos, quat = np.tile([0.0, 0.0, 1.0], (frames, 1)), np.tile([1.0, 0.0, 0.0, 0.0], (frames, 1))
    clip = Clip("stand", 5.0 + DT * np.arange(frames), pos, quat, np.zeros((frames, robot.num_joints)))
    return put_on_ground(clip, robot, np.zeros(frames))


# The surface -------------------------------------------------------------------------------------------------------------


def test_the_surface_is_as_large_as_the_robot():
    surface = trace(standing(), ROBOT)
    top = surface.points[0, :, 2] + surface.radius
    assert surface.height[0].min() == pytest.approx(0.0, abs=1e-9)
    assert 1.6 < top.max() < 1.85
    lowest, highest = (ROBOT.body_names[surface.body[i]] for i in (surface.height[0].argmin(), top.argmax()))
    assert lowest in ROBOT.feet and highest == "Head"
    half_span = np.abs(surface.points[0, :, 1]).max()
    assert 0.7 < half_span < 1.0  # T-pose


def test_the_lowest_point_of_each_shape_is_that_of_a_lying_robot(robot):
    """On its back the trunk, not the feet, is lowest: radii count."""
    clip = standing(2, robot)
    clip.root_quat_w[:] = [np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0]
    clip.root_pos_w[:, 2] = 0.0
    surface = trace(clip, robot)
    radius = surface.radius[surface.height[0].argmin()]
    assert radius > 0.03
    assert surface.height[0].min() == pytest.approx(surface.points[0, surface.height[0].argmin(), 2] - radius)


# Sliding -----------------------------------------------------------------------------------------------------------------


def slide_of(x: list[list[float]], height: list[list[float]], body: list[int]):
    """foot_slide of points that move along x."""
    xy = np.stack([np.array(x, float), np.zeros_like(np.array(x, float))], axis=-1)
    return foot_slide(DT * np.arange(len(x)), xy, np.array(height, float), np.array(body))


def test_a_foot_that_slides_on_the_ground_is_measured():
    slide = slide_of([[0.0], [0.01], [0.02], [0.04]], [[0.0]] * 4, [0])
    assert slide.max == pytest.approx(0.02 / DT)
    assert slide.mean == pytest.approx((0.01 + 0.01 + 0.02) / 3 / DT)
    assert slide.contact == 1.0
    assert slide.time == pytest.approx(2 * DT)


def test_a_foot_in_the_air_may_move():
    up = 1.1 * CONTACT_HEIGHT
    slide = slide_of([[0.0], [1.0], [1.0], [1.0]], [[up], [up], [0.0], [0.0]], [0])
    assert (slide.mean, slide.max) == (0.0, 0.0)
    assert slide.contact == pytest.approx(1 / 3)
    assert slide_of([[0.0], [1.0]], [[up], [up]], [0]).contact == 0.0


def test_a_foot_that_rolls_from_heel_to_ball_does_not_slide():
    """The heel moves while it is up; the ball, which is lower, stands still."""
    slide = slide_of([[0.0, 0.2], [0.02, 0.2], [0.05, 0.2]], [[0.004, 0.0], [0.008, 0.0], [0.009, 0.0]], [0, 0])
    assert slide.max == 0.0 and slide.contact == 1.0


def test_both_feet_count():
    slide = slide_of([[0.0, 0.0], [0.01, 0.0], [0.02, 0.0]], [[0.0, 0.0]] * 3, [0, 1])
    assert slide.max == pytest.approx(0.01 / DT)
    assert slide.mean == pytest.approx(0.005 / DT)


# Penetration -------------------------------------------------------------------------------------------------------------


def test_penetration_names_the_deepest_body():
    height = np.array([[0.1, 0.2], [-0.01, 0.1], [0.1, -0.03], [0.0, 0.0]])
    found = floor_penetration(DT * np.arange(4), height, ["heel", "hand"])
    assert (found.max, found.mean, found.share) == pytest.approx((0.03, 0.02, 0.5))
    assert (found.body, found.time) == ("hand", pytest.approx(2 * DT))


def test_on_the_ground_nothing_is_in_it():
    found = floor_penetration(DT * np.arange(2), np.zeros((2, 3)), ["a", "b", "c"])
    assert (found.max, found.mean, found.share, found.body) == (0.0, 0.0, 0.0, "")


# Limits ------------------------------------------------------------------------------------------------------------------

LIMITS = np.array([[-1.0, 1.0], [0.0, 2.0]])


def test_limits_count_every_angle_past_them():
    found = joint_limits(np.array([[0.0, 1.0], [1.1, -0.1], [1.2, 1.0]]), LIMITS, ("hip", "knee"))
    assert found.violations == 3
    assert (found.worst, found.joint) == (pytest.approx(0.2), "hip")
    assert found.close == pytest.approx(2 / 3)


def test_without_violations_the_closest_angle_is_reported():
    found = joint_limits(np.array([[0.0, 1.0], [0.5, 1.97]]), LIMITS, ("hip", "knee"))
    assert (found.violations, found.joint) == (0, "knee")
    assert found.worst == pytest.approx(-0.03)
    assert found.close == pytest.approx(0.5)


def test_rounding_is_no_violation():
    assert joint_limits(np.array([[1.0 + 1e-8, 1.0]]), LIMITS, ("hip", "knee")).violations == 0


# Jumps -------------------------------------------------------------------------------------------------------------------


def test_the_largest_change_of_a_joint_velocity_is_found():
    time = DT * np.arange(5)
    angles = np.stack([np.zeros(5), np.array([0.0, 0.1, 0.2, 0.2, 0.2])], axis=1)
    jump = velocity_jump(time, np.diff(angles, axis=0), ("hip", "knee"))
    assert jump.change == pytest.approx(0.1 / DT)
    assert (jump.joint, jump.time) == ("knee", pytest.approx(2 * DT))
    assert velocity_jump(time[:2], np.zeros((1, 2)), ("hip", "knee")).change == 0.0


def test_the_roots_jump_is_a_vector():
    time = DT * np.arange(4)
    pos = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.03, 0.04, 0.0], [0.06, 0.08, 0.0]])
    jump = root_jump(time, np.diff(pos, axis=0))
    assert jump.change == pytest.approx(0.05 / DT)
    assert jump.time == pytest.approx(DT)


def test_turns_are_rotation_vectors_in_the_world_frame():
    half = 0.15
    roll = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])
    yawed = np.array([np.cos(half) * roll[0], np.cos(half) * roll[1], np.sin(half) * roll[1], np.sin(half) * roll[0]])
    np.testing.assert_allclose(turns(np.stack([roll, yawed])), [[0.0, 0.0, 0.3]], atol=1e-9)
    np.testing.assert_allclose(turns(np.stack([roll, -yawed])), [[0.0, 0.0, 0.3]], atol=1e-9)


# Whole clips -------------------------------------------------------------------------------------------------------------


def test_a_robot_that_stands_has_no_fault(robot):
    report = inspect(standing(robot=robot), robot)
    assert (report.slide.max, report.penetration.max, report.limits.violations) == (0.0, 0.0, 0)
    assert (report.joint_jump.change, report.root_jump.change, report.root_turn_jump.change) == (0.0, 0.0, 0.0)
    assert report.slide.contact == 1.0
    verdict = assess(standing(robot=robot), robot)
    assert (verdict.frames, verdict.cyclic, verdict.mean_speed) == (20, True, 0.0)
    assert verdict.duration == pytest.approx(19 * DT)


def test_faults_of_a_whole_clip_are_found_where_they_are(robot):
    clip = standing(robot=robot)
    clip.root_pos_w[:, 0] = 0.5 * DT * np.arange(20)  # slides at 0.5 m/s
    clip.root_pos_w[12:, 0] += 0.1  # and jumps once
    clip.root_pos_w[15, 2] -= 0.025  # dips into the ground
    name = {"smpl": "L_Knee_y", "g1": "left_knee_joint"}[robot.name]
    knee = robot.joint_names.index(name)
    clip.joint_pos[5, knee] = -0.5
    report = inspect(clip, robot)
    assert report.slide.max == pytest.approx(0.5 + 0.1 / DT)
    assert report.slide.time == pytest.approx(11 * DT)
    assert 0.5 < report.slide.mean < 1.0
    assert report.penetration.max == pytest.approx(0.025, abs=1e-6)
    assert report.penetration.time == pytest.approx(15 * DT)
    assert report.penetration.body in robot.feet
    assert (report.limits.violations, report.limits.joint) == (1, name)
    assert report.limits.worst == pytest.approx(0.5 + robot.joints[knee].range[0])
    assert report.joint_jump.joint == name
    assert report.joint_jump.change == pytest.approx(2 * 0.5 / DT)
    assert report.root_jump.change == pytest.approx(0.1 / DT)


def test_round_shapes_sink_in_as_deep_as_they_reach(robot):
    clip = standing(robot=robot)
    clip.root_quat_w[:] = [np.sqrt(0.5), 0.0, -np.sqrt(0.5), 0.0]  # on its back
    clip.root_pos_w[:, 2] -= trace(clip, robot).height.min() + 0.03
    report = inspect(clip, robot)
    assert (report.penetration.max, report.penetration.share) == (pytest.approx(0.03, abs=1e-6), 1.0)
    assert report.penetration.body not in robot.feet


def test_the_summary_says_what_contact_means_and_names_the_worst():
    clip = standing()
    clip.joint_pos[5, ROBOT.joint_names.index("L_Knee_y")] = -0.5
    text = summary(inspect(clip, ROBOT))
    assert "lowest point below 1 cm" in text
    assert "1 violations; L_Knee_y comes to 0.300 rad past its limit" in text
    assert "joints 50.0 rad/s (L_Knee_y at 0.10 s)" in text
