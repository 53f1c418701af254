"""Interpolated poses of a clip: by hand, and against torch."""

import numpy as np
import torch

from protege.core.motions import Clip
from protege.core.motions.poses import frames_per_step, slerp
from protege.core.robots import rotation as R


def test_poses_between_frames_by_hand() -> None:
    """A rotation by 1 rad and a translation by 2 m in one second; time in the file begins at 3 s."""
    pos, joints = np.array([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0]]), np.array([[0.0], [0.4]])
    half = 0.5 * np.array([0.0, 1.0])
    turn = np.stack([np.cos(half), 0.0 * half, 0.0 * half, np.sin(half)], axis=1)
    poses = Clip("turn", np.array([3.0, 4.0]), pos, turn, joints).at(np.array([-1.0, 0.0, 0.25, 1.0, 9.0]))
    np.testing.assert_allclose(poses.root_pos_w, [[x, 0.0, 1.0] for x in (0.0, 0.0, 0.5, 2.0, 2.0)])
    np.testing.assert_allclose(poses.joint_pos[:, 0], [0.0, 0.0, 0.1, 0.4, 0.4])
    np.testing.assert_allclose(R.yaw(torch.from_numpy(poses.root_quat_w)), [0.0, 0.0, 0.25, 1.0, 1.0])


def test_slerp_matches_torch() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 500, 4))
    b[::5] = a[::5] * random.choice([-1.0, 1.0], size=(100, 1)) + 1e-9 * random.normal(size=(100, 4))  # nearly the same
    share = random.uniform(size=(500, 1))
    expected = R.slerp(*(R.normalize(torch.from_numpy(q)) for q in (a, b)), torch.from_numpy(share)).numpy()
    sign = np.sign((expected * slerp(a, b, share)).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(sign * slerp(a, b, share), expected, atol=1e-12)


def test_a_control_step_has_whole_frames_of_at_most_17_ms() -> None:
    rates = {hz: frames_per_step(1.0 / hz) for hz in (24, 30, 50, 60, 100, 120)}
    assert rates == {24: 3, 30: 2, 50: 2, 60: 1, 100: 1, 120: 1}
