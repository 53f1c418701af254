"""Import of DeepMimic's text: axes, frames, cycles and bad contents."""

import json
import math

import numpy as np
import pytest
from deepmimic_clips import FRAME_S, document, frame, import_deepmimic, turned, walk
from smpl_clips import ROBOT, bodies, feet_height

from protege.core.errors import UserError
from protege.core.motions import Clip
from protege.sim.motions.humanoid_onto import STRIDE_SCALE
from protege.sim.motions.surface import trace


def joint(clip: Clip, name: str) -> np.ndarray:
    return clip.joint_pos[:, ROBOT.joint_names.index(name)]


def test_the_zero_pose_stands_with_hanging_arms():
    clip = import_deepmimic(document([frame()] * 3), "stand", ROBOT)
    at = {name: pos[0] for name, pos in bodies(clip).items()}
    for side, sign in (("L", 1.0), ("R", -1.0)):
        assert at[f"{side}_Hand"][2] < at[f"{side}_Elbow"][2] < at[f"{side}_Shoulder"][2] - 0.2
        assert sign * at[f"{side}_Hand"][1] > 0.1
        assert at[f"{side}_Toe"][0] > at[f"{side}_Ankle"][0] + 0.1
    assert at["Head"][2] > at["Pelvis"][2] + 0.4
    # Nothing but the shoulders is turned.
    turned_joints = {name for name in ROBOT.joint_names if np.abs(joint(clip, name)).max() > 1e-9}
    assert turned_joints == {"L_Shoulder_x", "R_Shoulder_x"}
    np.testing.assert_allclose(joint(clip, "L_Shoulder_x"), -math.pi / 2, atol=1e-6)


def test_axes_and_strides():
    """The clip's x is ours; its -z is our y; its y is up. Horizontal travel is scaled, height is the feet's."""
    frames = [frame((0.5 + 0.1 * i, 0.9, 7.0 - 0.2 * i)) for i in range(4)]
    clip = import_deepmimic(document(frames), "drift", ROBOT)
    np.testing.assert_allclose(clip.root_pos_w[0, :2], 0.0, atol=1e-9)
    np.testing.assert_allclose(clip.root_pos_w[-1, :2], [0.3 * STRIDE_SCALE, 0.6 * STRIDE_SCALE], atol=1e-6)
    up = import_deepmimic(document([frame(root=turned("y", 0.5))] * 3), "turn", ROBOT)
    np.testing.assert_allclose(up.root_quat_w[0], [math.cos(0.25), 0.0, 0.0, math.sin(0.25)], atol=1e-6)


def test_frames_are_resampled_at_60_hz():
    clip = import_deepmimic(document([frame((0.1 * i, 0.9, 0.0)) for i in range(4)]), "drift", ROBOT)
    np.testing.assert_allclose(clip.time, np.arange(7) / 60.0, atol=1e-9)
    np.testing.assert_allclose(clip.root_pos_w[1, 0], 0.05 * STRIDE_SCALE, atol=1e-9)


def test_the_duration_of_the_last_frame_does_not_count():
    frames = [frame() for _ in range(3)]
    frames[-1][0] = 0.0
    assert import_deepmimic(document(frames), "stand", ROBOT).duration == pytest.approx(2 * FRAME_S)


def test_knees_bend_back_and_elbows_forward():
    """In the clips a bent knee is negative and a bent elbow positive, about their z."""
    clip = import_deepmimic(document([frame(L_Knee=-1.0, R_Elbow=1.2)] * 3), "bent", ROBOT)
    np.testing.assert_allclose(joint(clip, "L_Knee_y"), 1.0, atol=1e-6)
    np.testing.assert_allclose(joint(clip, "R_Knee_y"), 0.0, atol=1e-6)
    at = {name: pos[0] for name, pos in bodies(clip).items()}
    assert at["L_Ankle"][0] < at["L_Knee"][0] - 0.2
    assert at["R_Hand"][0] > at["R_Elbow"][0] + 0.2
    assert at["L_Hand"][0] < at["R_Hand"][0] - 0.2


def test_the_chest_bends_in_three_equal_parts_and_the_neck_in_two():
    clip = import_deepmimic(document([frame(chest=turned("z", -0.6), neck=turned("z", -0.4))] * 3), "bow", ROBOT)
    for body in ("Torso", "Spine", "Chest", "Neck", "Head"):
        np.testing.assert_allclose(joint(clip, f"{body}_y"), 0.2, atol=1e-6)
    assert bodies(clip)["Head"][0, 0] > 0.15  # forward


def test_a_back_is_placed_on_the_ground_like_feet():
    """An actor that lies on the back, feet in the air, gets up within half a second, and then stands."""

    def rising(share: float) -> list[float]:
        up = turned("z", 1.2 * (1.0 - share))
        height = 0.11 + 0.77 * share
        return frame((0.0, height, 0.0), root=turned("z", math.pi / 2 * (1.0 - share)), L_Hip=up, R_Hip=up)

    shares = [0.0] * 12 + [i / 15 for i in range(15)] + [1.0] * 12
    clip = import_deepmimic(document([rising(share) for share in shares]), "getup", ROBOT)
    assert feet_height(clip)[:15].min() > 0.5
    lowest = trace(clip, ROBOT).height.min(axis=1)
    np.testing.assert_allclose(lowest[:15], 0.0, atol=1e-3)
    np.testing.assert_allclose(lowest[-15:], 0.0, atol=1e-3)


def test_toes_stay_level_while_the_heel_is_up():
    clip = import_deepmimic(document([frame(L_Ankle=turned("z", -0.5))] * 3), "tiptoe", ROBOT)
    np.testing.assert_allclose(joint(clip, "L_Ankle_y"), 0.5, atol=1e-6)
    np.testing.assert_allclose(joint(clip, "L_Toe_y"), -0.5, atol=1e-6)
    np.testing.assert_allclose(joint(clip, "R_Toe_y"), 0.0, atol=1e-6)


def test_clips_that_loop_are_repeated_with_their_travel():
    once = import_deepmimic(walk(loop="none"), "walk", ROBOT)
    clip = import_deepmimic(walk(loop="wrap"), "walk", ROBOT)
    assert once.duration == pytest.approx(1.0) and not np.isclose(once.root_pos_w[-1, 0], 0.0)
    assert 10.0 <= clip.duration < 11.1 and clip.duration == pytest.approx(round(clip.duration))
    assert clip.is_cyclic
    assert clip.mean_speed == pytest.approx(STRIDE_SCALE, rel=1e-6)
    assert (np.diff(clip.time) > 0.0).all()
    # The second cycle is the first one further on.
    np.testing.assert_allclose(clip.joint_pos[60:121], clip.joint_pos[:61], atol=2e-9)
    np.testing.assert_allclose(
        clip.root_pos_w[60:121] - clip.root_pos_w[:61], [[STRIDE_SCALE, 0.0, 0.0]] * 61, atol=2e-9
    )


def test_the_gap_of_a_cycle_is_spread_over_it():
    frames = [frame(L_Hip=turned("z", 0.02 * i)) for i in range(11)]
    clip = import_deepmimic(document(frames, "wrap"), "drift", ROBOT)
    assert clip.is_cyclic
    assert np.abs(np.diff(clip.joint_pos, axis=0)).max() < 0.02


def test_quaternions_of_either_sign_are_one_rotation():
    rows = [frame(root=turned("y", 0.1 * i)) for i in range(5)]
    flipped = [list(row) for row in rows]
    for row in flipped[1::2]:
        row[4:8] = [-x for x in row[4:8]]
    a, b = (import_deepmimic(document(x), "turn", ROBOT) for x in (rows, flipped))
    np.testing.assert_array_equal(a.root_quat_w, b.root_quat_w)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "is not a DeepMimic clip"),
        (walk()[:500], "is not a DeepMimic clip"),
        (b"\xff\xfe\x00", "is not a DeepMimic clip"),
        (b"[1, 2]", "is not a DeepMimic clip"),
        (b'{"Loop": "wrap"}', "is not a DeepMimic clip"),
        (json.dumps({"Frames": [[0.1] * 44, [0.1] * 43]}).encode(), "is not a DeepMimic clip"),
        (json.dumps({"Frames": [[0.1] * 36] * 3}).encode(), r"frames of shape \(3, 36\)"),
        (document([frame()]), r"frames of shape \(1, 44\)"),
        (document([frame(), frame(L_Knee=math.nan), frame()]), "a number that is not finite"),
        (document([frame(), frame(L_Knee=math.inf), frame()]), "a number that is not finite"),
        (document([[0.0, *frame()[1:]]] * 3), "a frame without duration"),
        (document([frame(neck=[0.0, 0.0, 0.0, 0.0])] * 3), "no unit quaternion"),
    ],
    ids=["empty", "truncated", "binary", "list", "no frames", "ragged", "other robot", "one frame", "NaN", "inf",
         "no duration", "no rotation"],
)  # fmt: skip
def test_bad_contents_are_named(contents, message):
    with pytest.raises(UserError, match=f"^walk .*{message}|^walk {message}"):
        import_deepmimic(contents, "walk", ROBOT)
