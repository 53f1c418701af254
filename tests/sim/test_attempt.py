"""Sampling-based control, compared with falling bodies and hand arithmetic."""

import math

import numpy as np
import pytest

from protege.core.motions import Clip
from protege.core.robots.robot import Robot
from protege.sim.engine import mujoco
from protege.sim.motions.attempt import (
    CORRELATION_TIME,
    LOST_MEAN_DISTANCE,
    Attempt,
    _correlated_noise,
    _weights,
    attempt,
    summary,
)
from protege.sim.robots import get_robot
from protege.sim.robots.mjcf import build_spec

SMPL = get_robot("smpl")


def still(robot: Robot, height: float, seconds: float = 1.0) -> Clip:
    """The default pose, the root at a height, m."""
    count = round(60 * seconds) + 1
    pos, quat = np.tile([0.0, 0.0, height], (count, 1)), np.tile([1.0, 0.0, 0.0, 0.0], (count, 1))
    return Clip("still", np.arange(count) / 60.0, pos, quat, np.tile(robot.default_joint_pos, (count, 1)))


def centers_of_mass(motion: Clip, robot: Robot) -> np.ndarray:
    """Centre of mass of the robot in each frame, (T, 3) m."""
    model = build_spec(robot).compile()
    data, centers = mujoco.MjData(model), []
    for pose in zip(motion.root_pos_w, motion.root_quat_w, motion.joint_pos, strict=True):
        data.qpos[:] = np.concatenate(pose)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        centers.append(data.subtree_com[1].copy())
    return np.array(centers)


def test_a_floating_clip_cannot_be_followed(robot):
    """The centre of mass by g t (t + dt) / 2 with a physics step dt, whatever the servos do: 50 cm after a third of a second."""
    fall = attempt(still(robot, 3.0), robot, samples=4, threads=1)
    t, dt = robot.control_dt * np.arange(len(fall.distance) + 1), robot.physics_dt
    height = centers_of_mass(fall.motion, robot)[:, 2]
    np.testing.assert_allclose(height[0] - height, 0.5 * 9.81 * t * (t + dt), atol=3e-3, rtol=0.0)
    assert fall.lost and fall.distance[-1] > LOST_MEAN_DISTANCE > fall.distance[-2]
    assert summary(fall).startswith(f"still: lost after {t[-1]:.2f} s; ") and 0.3 < t[-1] < 0.35


def test_a_standing_clip_is_followed(robot):
    done = attempt(still(robot, robot.root_height, 0.5), robot, samples=32, threads=1)
    assert not done.lost and len(done.distance) == round(0.5 / robot.control_dt)
    assert done.distance.max() < 0.03
    assert summary(done).startswith("still: followed for 0.50 s, ")


def test_the_result_is_a_clip_that_starts_like_the_original(robot):
    seen: list[float] = []
    done = attempt(still(robot, 3.0), robot, seconds=0.1, samples=4, threads=1, progress=seen.append)
    steps = round(0.1 / robot.control_dt)
    assert len(done.distance) == steps and seen == pytest.approx([(i + 1) / steps for i in range(steps)])
    np.testing.assert_allclose(done.motion.time, np.arange(steps + 1) * robot.control_dt)
    np.testing.assert_allclose(done.motion.root_pos_w[0], [0.0, 0.0, 3.0])
    np.testing.assert_allclose(done.motion.joint_pos[0], robot.default_joint_pos, atol=1e-6)
    assert done.motion.joint_pos.shape == (steps + 1, robot.num_joints)


def test_the_result_depends_on_the_seed_and_not_on_the_threads():
    def distance(seed: int, threads: int) -> np.ndarray:
        return attempt(still(SMPL, 0.951, 0.1), SMPL, samples=6, threads=threads, seed=seed).distance

    np.testing.assert_array_equal(distance(1, 1), distance(1, 2))
    assert (distance(1, 1) != distance(2, 1)).any()


def test_weights_fall_with_the_cost():
    """Of 20 samples the third is at the end of the best tenth: it has e^-3 of the best one's weight; a broken one has none."""
    weights = _weights(np.array([5.0, 6.0, 7.0, *[9.0] * 16, np.inf]))
    assert weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(weights[1:4] / weights[0], np.exp([-1.5, -3.0, -6.0]))
    assert weights[-1] == 0.0


def test_weights_are_finite_when_samples_explode():
    weights = _weights(np.array([1.0, 2.0, *[np.inf] * 18]))  # the end of the best tenth is no number
    np.testing.assert_allclose(weights[1] / weights[0], np.exp(-3.0))
    assert weights.sum() == pytest.approx(1.0) and not weights[2:].any()
    np.testing.assert_allclose(_weights(np.full(4, np.inf)), 0.25)


def test_changes_are_correlated_in_time():
    """At 30 Hz and at 50 Hz they fade in the same time."""
    for rate in (30.0, 50.0):
        drawn = _correlated_noise(np.random.default_rng(0), (4000, 14, 3), math.exp(-1.0 / (rate * CORRELATION_TIME)))
        np.testing.assert_allclose(drawn.std(axis=(0, 2)), 1.0, rtol=0.03)
        left, right = drawn[:, 5].ravel(), drawn[:, 8].ravel()
        assert np.corrcoef(left, right)[0, 1] == pytest.approx(math.exp(-3.0 / rate / CORRELATION_TIME), abs=0.02)


def test_the_worst_moment_is_named():
    motion = still(SMPL, 1.0, 0.1)
    assert summary(Attempt(np.array([0.1, 0.3, 0.2]), motion)) == (
        "still: followed for 0.10 s, 20.0 cm off on average, 30.0 cm at 0.03 s at most"
    )
