"""The demands of a clip on motors: standing, falling, and a speed, by hand."""

import kneed
import numpy as np
import pytest

from protege.core.motions import Clip
from protege.sim.motions.demands import demands, summary, torques
from protege.sim.robot_check.loads import standing_torques
from protege.sim.robots import get_robot

TIME = np.arange(60) / 60.0


def still(robot, height: float, fall: np.ndarray | float = 0.0) -> Clip:
    """The default pose, with its root at a height, m, and lower by `fall`."""
    root = np.zeros((60, 3))
    root[:, 2] = height - fall
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (60, 1))
    return Clip("still", TIME, root, quat, np.tile(np.array(robot.default_joint_pos, dtype=float), (60, 1)))


def test_free_fall_needs_no_torque(robot):
    torque, speed = torques(still(robot, 20.0, 0.5 * 9.81 * TIME**2), robot)
    assert np.abs(torque[10:-10]).max() < 0.2 and np.abs(speed).max() == 0.0


def test_knee_torques_carry_the_body_above(tmp_path):
    robot = get_robot(str(kneed.write(tmp_path)))
    torque, _ = torques(still(robot, robot.root_height), robot)
    knees = [robot.joint_names.index(f"{side}_knee") for side in ("left", "right")]
    expected = standing_torques(robot)
    np.testing.assert_allclose(torque[30, knees], expected[knees], atol=0.05 * np.abs(expected[knees]).max())
    assert np.abs(expected[knees]).min() > 1.0


def test_overloaded_joints_are_named(tmp_path):
    robot = get_robot(str(kneed.write(tmp_path)))
    clip = still(robot, 5.0)
    hip = robot.joint_names.index("left_hip")
    angle = 0.5 * np.sin(2.0 * np.pi * 4.0 * TIME)
    clip.joint_pos[:, hip] += angle
    found = demands(clip, robot)
    # A leg of 2.5 kg about its hip, 0.3 kg m² and more, at (8 π)² / 2 rad/s².
    assert found.beyond[0].joint == "left_hip" and found.beyond[0].torque > 0.3 * 0.5 * (8.0 * np.pi) ** 2 * 0.5
    assert found.speed == pytest.approx(0.5 * 8.0 * np.pi, rel=0.02) and found.fastest == "left_hip"
    assert "left_hip" in summary(found) and "of 60 N·m" in summary(found)
