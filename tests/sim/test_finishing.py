"""Processing of every imported clip: ground, limits, smoothing, rounding."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smpl_clips import ROBOT, feet_height

from protege.core.motions import Clip, save_clip
from protege.sim.motions.ground import put_on_ground, rounded, smooth, within_limits
from protege.sim.motions.surface import trace


def standing(height: float, frames: int = 4) -> Clip:
    pos = np.tile([0.0, 0.0, height], (frames, 1))
    quat = np.tile([1.0, 0.0, 0.0, 0.0], (frames, 1))
    return Clip("stand", np.arange(frames) / 30.0, pos, quat, np.zeros((frames, 69)))


@pytest.mark.parametrize("height", [0.0, 3.0])
def test_a_clip_is_put_on_the_ground(height):
    clip = put_on_ground(standing(height), ROBOT, np.zeros(4))
    np.testing.assert_allclose(feet_height(clip), 0.0, atol=1e-9)
    assert 0.9 < clip.root_pos_w[0, 2] < 1.0


def test_feet_are_as_high_as_their_models():
    """For any knee angles, and smoothly: a jump of 30 cm from bent legs."""
    rise = np.concatenate([np.zeros(20), 0.3 * np.sin(np.linspace(0.0, np.pi, 30)), np.zeros(20)])
    clip = standing(2.0, len(rise))
    clip.root_pos_w[:, 2] += rise
    for joint_name, angle in (("Hip_y", -0.6), ("Knee_y", 1.2), ("Ankle_y", -0.6)):
        for side in "LR":
            clip.joint_pos[:20, ROBOT.joint_names.index(f"{side}_{joint_name}")] = angle
    height = feet_height(put_on_ground(clip, ROBOT, rise))
    np.testing.assert_allclose(height[:14], 0.0, atol=1e-6)
    np.testing.assert_allclose(height[-14:], 0.0, atol=1e-6)
    assert height.min() > -1e-9
    np.testing.assert_allclose(height[30:45], rise[30:45], atol=0.02)


def test_hands_are_not_put_into_the_ground():
    """A robot upside down whose feet are wrongly marked as touching."""
    clip = standing(1.0, 20)
    clip.root_quat_w[:] = [0.0, 1.0, 0.0, 0.0]
    assert trace(put_on_ground(clip, ROBOT, np.zeros(20)), ROBOT).height.min() == pytest.approx(0.0, abs=1e-9)


def test_the_depth_that_the_model_sinks_in_counts_as_ground():
    clip = put_on_ground(standing(1.0, 10), ROBOT, np.full(10, -0.05))
    np.testing.assert_allclose(feet_height(clip), 0.0, atol=1e-9)


def test_low_and_slow_feet_stand():
    """A model that hovers 3 cm before it jumps pushes off from the ground; its flight is as high as it was."""
    rise = np.concatenate([np.linspace(0.0, 0.03, 30), 0.03 + 0.3 * np.sin(np.linspace(0.0, np.pi, 30)), np.zeros(20)])
    clip = standing(2.0, len(rise))
    clip.root_pos_w[:, 2] += rise
    height = feet_height(put_on_ground(clip, ROBOT, rise))
    np.testing.assert_allclose(height[:20], 0.0, atol=1e-6)
    assert height.max() == pytest.approx(0.3, abs=0.02)


def test_a_jump_is_smoothed_over_some_frames():
    """A step of 0.3 rad from one frame to the next, 18 rad/s, becomes at most 0.3 / sqrt(2 pi) rad a frame, 7 rad/s."""
    clip = replace(standing(1.0, 41), time=np.arange(41) / 60.0)
    clip.joint_pos[20:, 4] = 0.3
    turned = smooth(clip).joint_pos[:, 4]
    assert np.diff(turned).max() == pytest.approx(0.3 / np.sqrt(2.0 * np.pi), rel=0.01)
    assert turned[:16] == pytest.approx(0.0, abs=1e-9) and turned[25:] == pytest.approx(0.3, abs=1e-9)


@given(st.integers(3, 30), st.integers(0, 1000))
def test_a_smooth_cycle_stays_closed_and_travels_as_far(frames, seed):
    rng = np.random.default_rng(seed)
    clip = standing(1.0, frames)
    clip.root_pos_w[:, 0] = np.linspace(0.0, 2.0, frames)
    clip.joint_pos[:-1] = rng.normal(size=(frames - 1, 69))
    clip.joint_pos[-1] = clip.joint_pos[0]
    found = smooth(clip, wraps=True)
    np.testing.assert_allclose(found.joint_pos[-1], found.joint_pos[0], atol=1e-12)
    np.testing.assert_allclose(found.joint_pos[:-1].mean(axis=0), clip.joint_pos[:-1].mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(
        found.root_pos_w, clip.root_pos_w, atol=1e-12
    )  # even travel is not changed, at the ends neither


def test_a_lone_clip_keeps_its_speed_at_the_ends():
    clip = standing(1.0, 12)
    clip.root_pos_w[:, 0] = np.linspace(0.0, 2.0, 12)
    np.testing.assert_allclose(smooth(clip).root_pos_w, clip.root_pos_w, atol=1e-12)


def test_limits_are_kept():
    clip = standing(1.0)
    clip.joint_pos[1, 4] = 9.0
    bounded = within_limits(clip, ROBOT)
    assert bounded.joint_pos[1, 4] == pytest.approx(ROBOT.joints[4].range[1])
    assert (bounded.joint_pos[0] == 0.0).all() and clip.joint_pos[1, 4] == 9.0


def test_rounding_hides_the_last_bit_of_another_processor(tmp_path):
    clip = standing(1.0)
    clip.joint_pos[:] = 0.123456789
    other = standing(1.0)
    other.joint_pos[:] = np.nextafter(0.123456789, 1.0)
    other.root_pos_w[:, 0] = -1e-17
    for name, each in (("a", clip), ("b", other)):
        save_clip(tmp_path / name, rounded(each))
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
