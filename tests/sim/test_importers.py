"""Motion import: DeepMimic text to the robot's hinges, and what a clip must be before it is written."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from deepmimic_clips import FRAME_S, document, frame, import_deepmimic, turned, walk
from hypothesis import given, settings
from hypothesis import strategies as st

from protege.core.errors import UserError
from protege.core.motions import Clip, load_clip, save_clip
from protege.core.robots import rotation as R
from protege.core.robots.kinematics import Kinematics
from protege.sim.motions.ground import put_on_ground, rounded, smooth, within_limits
from protege.sim.motions.hinges import hinge_angles
from protege.sim.motions.humanoid_onto import STRIDE_SCALE
from protege.sim.motions.readers import READERS, get_reader
from protege.sim.motions.sources import find_sources
from protege.sim.motions.surface import trace
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")
SHIPPED = [f"smpl_humanoid_{name}.npy" for name in ("walk", "run", "jump")]
WIDE = torch.tensor([[-30.0, 30.0]] * 3)
HIP = ROBOT.joint_range()[[ROBOT.joint_names.index(f"L_Hip_{axis}") for axis in "xyz"]]


def joint(clip: Clip, name: str) -> np.ndarray:
    return clip.joint_pos[:, ROBOT.joint_names.index(name)]


def bodies(clip: Clip) -> dict[str, np.ndarray]:
    """Where each body is, (T, 3) m."""
    pos, _ = Kinematics(ROBOT)(
        *(torch.from_numpy(x).float() for x in (clip.root_pos_w, clip.root_quat_w, clip.joint_pos))
    )
    return {name: pos[:, i].numpy() for i, name in enumerate(ROBOT.body_names)}


def feet_height(clip: Clip) -> np.ndarray:
    """Of the lowest foot point in each frame, (T,) m."""
    surface = trace(clip, ROBOT)
    return surface.height[:, np.isin(surface.body, ROBOT.body_ids(ROBOT.feet))].min(axis=1)


# DeepMimic ---------------------------------------------------------------------------------------------------------------


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


def test_frames_are_put_at_60_hz():
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


def test_a_back_is_put_on_the_ground_as_feet_are():
    """Somebody lies on his back, feet in the air, gets up within half a second, and then stands."""

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


def test_what_a_cycle_fails_to_close_is_spread_over_it():
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


# Hinges ------------------------------------------------------------------------------------------------------------------

angles = st.floats(-3.1, 3.1)
chains = st.lists(st.tuples(angles, angles, angles), min_size=1, max_size=6)


def compose(chain: torch.Tensor) -> torch.Tensor:
    """The rotation of a body by its x, y and z hinge (T, 3) rad, the first outermost."""
    x, y, z = (
        R.from_axis_angle(axis.expand(len(chain), 3), chain[:, i]) for i, axis in enumerate(torch.eye(3).double())
    )
    return R.multiply(R.multiply(x, y), z)


@given(chains)
def test_hinge_angles_turn_the_body_by_the_rotation(rows):
    q = compose(torch.tensor(rows, dtype=torch.float64))
    assert R.angle_between(compose(hinge_angles(q, WIDE)), q).max() < 1e-6


@given(chains)
def test_hinge_angles_are_within_the_limits(rows):
    limits = torch.tensor([[-0.5, 1.0], [-0.1, 2.0], [-0.3, 0.3]])
    found = hinge_angles(compose(torch.tensor(rows, dtype=torch.float64)), limits).float()
    assert (found >= limits[:, 0]).all() and (found <= limits[:, 1]).all()


@given(st.tuples(angles, st.floats(-1.2, 1.2), angles), st.lists(st.tuples(*[st.floats(-0.1, 0.1)] * 3), max_size=40))
def test_slow_turns_give_slow_hinges(first, steps):
    """Away from the gimbal lock at 90 degrees, hinges do not jump by whole turns where the angle passes 180 degrees."""
    chain = torch.tensor([first, *steps], dtype=torch.float64).cumsum(0)
    chain[:, 1] = chain[:, 1].clamp(-1.3, 1.3)
    found = hinge_angles(compose(chain), WIDE)
    assert found.diff(dim=0).abs().max() < 0.11 if len(steps) else True


@settings(max_examples=20)
@given(st.tuples(*[st.floats(-2.2, 2.2)] * 3))
def test_nothing_within_a_hips_limits_is_nearer(row):
    """What a hip cannot reach it comes as near to as the best of a grid."""
    q = compose(torch.tensor([row] * 3, dtype=torch.float64))
    grid = compose(torch.cartesian_prod(*[torch.linspace(low, high, 25).double() for low, high in HIP.tolist()]))
    found = R.angle_between(compose(hinge_angles(q, HIP)), q)
    assert (found < R.angle_between(grid, q[:1]).min() + 0.01).all()


def test_a_cycle_that_leaves_the_limits_ends_where_it_began():
    """By one frame's motion. Searched for from one end to the other, this one would end 3.8 rad away from its beginning."""
    t = torch.linspace(0.0, 2.0 * torch.pi, 61, dtype=torch.float64)
    q = compose(torch.stack([2.0 * t.sin(), 1.0 + 2.0 * t.cos(), 2.0 * (2.0 * t).sin()], dim=-1))
    found = hinge_angles(q, HIP, wraps=True)
    assert found.shape == (61, 3)
    assert (found[-1] - found[0]).abs().max() < 0.15


def test_a_leg_that_is_drawn_up_for_a_fifth_of_a_second_is_drawn_up():
    """From rest through what no hip can reach, and back; keeping to one branch of solutions would leave it 36 degrees off."""
    rest, up = compose(torch.tensor([[0.0, 0.0, 0.0], [-0.5, -2.2, -0.5]], dtype=torch.float64))
    there = torch.linspace(0.0, 1.0, 15)
    share = torch.cat([torch.zeros(40), there, torch.ones(12), there.flip(0), torch.zeros(40)])[:, None].double()
    q = R.slerp(rest.expand(len(share), 4), up.expand(len(share), 4), share)
    found = hinge_angles(q, HIP)
    assert R.angle_between(compose(found), q)[57:65].max() < 0.02
    assert found.diff(dim=0).abs().max() * 60.0 < 12.0


def test_beyond_the_limits_the_nearest_rotation_is_taken():
    """A quarter turn about x, of which half is allowed; y and z cannot help."""
    q = compose(torch.tensor([[1.4, 0.0, 0.0]] * 20, dtype=torch.float64))
    found = hinge_angles(q, torch.tensor([[-0.7, 0.7]] * 3))
    torch.testing.assert_close(found, torch.tensor([[0.7, 0.0, 0.0]] * 20, dtype=torch.float64), atol=1e-6, rtol=0.0)


def test_a_clip_that_starts_a_turn_away_is_brought_into_range():
    chain = torch.tensor([[3.0, 0.0, 0.0], [3.3, 0.0, 0.0], [3.6, 0.0, 0.0]], dtype=torch.float64)
    found = hinge_angles(compose(chain), torch.tensor([[-6.0, 0.0], [-1.0, 1.0], [-1.0, 1.0]]))
    torch.testing.assert_close(found[:, 0], chain[:, 0] - 2.0 * torch.pi)


# Finishing a clip --------------------------------------------------------------------------------------------------------


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
    """Whatever the knees do, and smoothly: a jump of 30 cm, from bent legs."""
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
    """A robot upside down whose model's feet are, wrongly, said to touch."""
    clip = standing(1.0, 20)
    clip.root_quat_w[:] = [0.0, 1.0, 0.0, 0.0]
    assert trace(put_on_ground(clip, ROBOT, np.zeros(20)), ROBOT).height.min() == pytest.approx(0.0, abs=1e-9)


def test_what_the_model_sinks_in_counts_as_ground():
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


def test_a_snap_takes_some_frames():
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


# The shipped clips -------------------------------------------------------------------------------------------------------


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


# Importers and archives --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two clips, as files and in an archive beside something else."""
    (tmp_path / "humanoid3d_walk.txt").write_bytes(walk())
    (tmp_path / "humanoid3d_stand.txt").write_bytes(document([frame()] * 3))
    with ZipFile(tmp_path / "data.whl", "w") as archive:
        for name in ("walk", "stand"):
            archive.write(tmp_path / f"humanoid3d_{name}.txt", f"some/where/humanoid3d_{name}.txt")
        archive.writestr("some/where/dog3d_trot.txt", "woof")
        archive.writestr("some/where/humanoid3d_walk.ckpt", "weights")
    return tmp_path


def read(sources: list[Path], names: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Contents by name, of DeepMimic's files alone."""
    return {found.name: found.read() for found in find_sources(sources, names, get_reader("deepmimic"))}


def test_a_file_is_read_under_its_own_or_another_name(folder):
    assert read([folder / "humanoid3d_walk.txt"]) == {"walk": walk()}
    assert read([folder / "humanoid3d_walk.txt"], ("stroll",)) == {"stroll": walk()}
    (folder / "mine.json").write_bytes(b"x")
    assert read([folder / "mine.json"]) == {"mine": b"x"}


def test_archives_and_folders_are_read_by_name_or_whole(folder):
    stand = document([frame()] * 3)
    assert read([folder / "data.whl"]) == {"walk": walk(), "stand": stand}
    assert read([folder / "data.whl"], ("walk",)) == {"walk": walk()}
    assert read([folder]) == {"walk": walk(), "stand": stand}
    (folder / "data.whl").rename(folder / "data.zip")
    assert list(read([folder / "data.zip"], ("stand",))) == ["stand"]


def test_sources_that_cannot_be_read_are_named(folder):
    (folder / "broken.zip").write_bytes((folder / "data.whl").read_bytes()[:300])
    ZipFile(folder / "empty.zip", "w").close()
    cases = [
        ([folder / "nowhere.txt"], (), "cannot read .*nowhere.txt .No such file or directory"),
        ([folder / "nowhere.whl"], (), "cannot read .*nowhere.whl .No such file or directory"),
        ([folder / "broken.zip"], (), "cannot read .*broken.zip .not a whole archive"),
        ([folder / "empty.zip"], (), r"empty.zip holds no humanoid3d_\*.txt"),
        ([folder / "data.whl"], ("walk", "fly"), "no humanoid3d_fly.txt in .*data.whl"),
        ([folder / "humanoid3d_walk.txt", folder / "humanoid3d_stand.txt"], ("a",), "cannot all be called"),
    ]
    for sources, names, message in cases:
        with pytest.raises(UserError, match=message):
            read(sources, names)


def test_the_registry_names_what_it_knows():
    assert "deepmimic" in READERS
    with pytest.raises(UserError, match=r"no motion format 'fbx'\. Known: .*deepmimic"):
        get_reader("fbx")


def test_a_clip_that_is_imported_twice_is_the_same_file(tmp_path):
    files = [save_clip(tmp_path / name, import_deepmimic(walk(), name, ROBOT)) for name in ("a", "b")]
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert len(digests) == 1
    again = load_clip(files[0], ROBOT)
    np.testing.assert_array_equal(again.joint_pos, import_deepmimic(walk(), "a", ROBOT).joint_pos)
