"""The shipped clips: speeds, limits, ground."""

import numpy as np
import pytest
from smpl_clips import ROBOT, bodies, feet_height

from protege.core.motions import load_clip

SHIPPED = [f"smpl_humanoid_{name}.npy" for name in ("walk", "run", "jump")]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_clips_load_loop_and_keep_the_limits(name):
    clip = load_clip(f"data/motions/{name}", ROBOT)
    assert clip.is_cyclic and clip.duration >= 10.0
    low, high = ROBOT.joint_range().double().numpy().T
    assert (clip.joint_pos >= low - 1e-6).all() and (clip.joint_pos <= high + 1e-6).all()
    np.testing.assert_allclose(np.linalg.norm(clip.root_quat_w, axis=1), 1.0, atol=1e-8)


@pytest.mark.parametrize(("name", "speed"), list(zip(SHIPPED, [(0.8, 1.1), (3.0, 3.7), (0.4, 0.8)], strict=True)))
def test_shipped_clips_have_the_speed_of_their_gait(name, speed):
    assert speed[0] < load_clip(name, ROBOT).mean_speed < speed[1]


@pytest.mark.parametrize(
    ("name", "median", "highest"), list(zip(SHIPPED, (0.002, 0.02, 0.002), (0.01, 0.12, 0.26), strict=True))
)
def test_shipped_clips_have_their_feet_on_the_ground(name, median, highest):
    """Metres: a walk never leaves the ground, a run and a jump do, and nothing sinks in."""
    height = feet_height(load_clip(name, ROBOT))
    assert abs(np.median(height)) < median
    assert 0.7 * highest < height.max() < highest
    assert height.min() > -1e-8


def test_the_walk_is_upright_and_forward():
    clip = load_clip(SHIPPED[0], ROBOT)
    at = bodies(clip)
    assert (at["Head"][:, 2] - at["Pelvis"][:, 2]).min() > 0.45
    travel = clip.root_pos_w[-1] - clip.root_pos_w[0]
    assert travel[0] > 9.0 and abs(travel[1]) < 0.1
    assert clip.root_pos_w[:, 2].min() > 0.85 and clip.root_pos_w[:, 2].max() < 1.0
