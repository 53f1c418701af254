"""Readers: files of each format, written here in its layout, return the motion that was written."""

import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from motion_files import (
    FPS,
    FRAMES,
    G1,
    SMPL,
    amass,
    bvh,
    close,
    csv,
    estimated,
    gmr,
    holosoma,
    library,
    mimickit,
    mjlab,
    npz,
    packed,
    phc,
    poselib,
    protomotions,
    read,
    robot_walk,
    rotation_vectors,
    saved,
    smpl_motion,
    smpl_walk,
    turn,
)  # fmt: skip
from pickles import mapping, number, pickled

from protege.core.errors import UserError
from protege.core.motions import load_clip
from protege.core.robots import rotation as R
from protege.sim.cli import main
from protege.sim.motions.readers import READERS, Reader
from protege.sim.motions.readers.document import Document, open_document
from protege.sim.motions.readers.options import Options
from protege.sim.motions.readers.smpl_family import skeleton
from protege.sim.motions.skeleton_kinematics import body_positions
from protege.sim.motions.source import JointMotion, SkeletonMotion

FILES = {
    "poselib": poselib(), "protomotions": saved(protomotions(G1)), "amass": amass(), "phc": phc(), "video": estimated(),
    "bvh": bvh(),
    "npz": mjlab(G1), "gmr": gmr(G1), "mimickit": mimickit(np.zeros((9, 35))), "csv": csv(G1),
    "deepmimic": b'{"Loop": "none", "Frames": [[0.1]]}',
}  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_a_format_is_detected_by_its_contents_alone(name):
    document = open_document(FILES[name], "file", "file")
    assert [other for other, reader in READERS.items() if reader.recognises(document)] == [name]


# Skeletons ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("xyzw", [True, False])
def test_poselib_is_read_in_either_frame_and_order(local, xyzw):
    pos, rotations = smpl_walk()
    (motion,) = read(poselib(local=local, xyzw=xyzw), quat=None if xyzw else "wxyz")
    assert isinstance(motion, SkeletonMotion) and (motion.fps, motion.skeleton.family) == (FPS, "SMPL")
    np.testing.assert_allclose(motion.root_pos_w, pos)
    assert close(motion.rotations, rotations) and close(motion.root_quat_w, rotations[:, 0])
    np.testing.assert_allclose(motion.skeleton.offsets, skeleton().offsets, atol=1e-6)
    assert motion.time[-1] == pytest.approx((FRAMES - 1) / FPS)


@pytest.mark.parametrize("kind", ["smplh", "smplx"])
def test_amass_is_turned_to_our_axes_and_its_hands_are_left_out(kind):
    pos, rotations = smpl_walk()
    (motion,) = read(amass(kind))
    np.testing.assert_allclose(motion.root_pos_w, pos, atol=1e-9)
    hands = [motion.skeleton.names.index(name) for name in ("L_Hand", "R_Hand")]
    assert close(motion.rotations, rotations)
    np.testing.assert_array_equal(motion.rotations[:, hands], np.tile([1.0, 0.0, 0.0, 0.0], (FRAMES, 2, 1)))
    assert "shape and hands are left out" in motion.remarks[0]


def test_smpls_axes_become_ours_by_hand_arithmetic():
    """A person of AMASS stands (a quarter turn about x), faces the world's -y, left arm lowered (about SMPL's z, ahead), left leg
    drawn up (about SMPL's x, to the left): ours is a quarter turn to the right, the arm about x, the leg about y.
    """
    poses = np.zeros((3, 52, 3))
    poses[:, 0, 0], poses[:, 1, 0], poses[:, 16, 2] = np.pi / 2, -0.7, -1.4
    (motion,) = read(amass(poses=poses.reshape(3, -1), trans=np.zeros((3, 3))))
    at = {name: motion.rotations[:, i] for i, name in enumerate(motion.skeleton.names)}
    assert close(at["Pelvis"], turn("z", np.full(3, -np.pi / 2)))
    assert close(at["L_Hip"], turn("y", np.full(3, -0.7))) and close(at["L_Shoulder"], turn("x", np.full(3, -1.4)))
    np.testing.assert_allclose(motion.root_pos_w, [[-0.0018, -0.2233, 0.0282]] * 3)


def test_amass_files_without_a_motion_hold_none():
    assert read(npz(betas=np.zeros(16), gender=np.array("male"))) == []


def test_phc_is_a_collection():
    pos, rotations = smpl_walk()
    motions = read(phc())
    assert [one.name for one in motions] == ["0-walk", "0-walk again"]
    for motion in motions:
        np.testing.assert_allclose(motion.root_pos_w, pos, atol=1e-9)
        assert close(motion.rotations, rotations)


def test_mimickits_smpl_wraps_if_it_says_so():
    pos, rotations = smpl_walk()
    frames = np.concatenate([pos, rotation_vectors(rotations).reshape(FRAMES, -1)], axis=1)
    for loop in (0, 1):
        (motion,) = read(mimickit(frames, loop))
        assert motion.wraps is bool(loop) and motion.skeleton.family == "SMPL"
        assert close(motion.rotations, rotations)


def test_mimickits_humanoid_has_outstretched_arms_at_rest_and_deepmimics_hanging_ones():
    """All its joints at zero: arms, which hang in DeepMimic's rest, are raised by a quarter turn about x; elbows are straight."""
    frames = np.zeros((5, 34))
    frames[:, 2] = 0.9
    (motion,) = read(mimickit(frames))
    at = {name: motion.rotations[0, i] for i, name in enumerate(motion.skeleton.names)}
    left = R.rotate(torch.from_numpy(at["L_Shoulder"]), torch.tensor([0.0, 0.0, -1.0]).double())
    torch.testing.assert_close(left, torch.tensor([0.0, 1.0, 0.0]).double(), atol=1e-6, rtol=0.0)
    np.testing.assert_allclose(at["R_Elbow"], [1.0, 0.0, 0.0, 0.0], atol=1e-9)
    # A bent left elbow (about the model's z, negative) brings the hand ahead; a bent knee (about y) the foot back.
    frames[:, [15, 23]] = 0.0
    frames[:, 6 + 3 + 3 + 3 + 1 + 3] = -1.0
    frames[:, 6 + 3 + 3 + 3 + 1 + 3 + 1 + 3] = 1.0
    (motion,) = read(mimickit(frames))
    at = {name: motion.rotations[0, i] for i, name in enumerate(motion.skeleton.names)}
    shoulder, elbow = (torch.from_numpy(at[name]) for name in ("L_Shoulder", "L_Elbow"))
    hand = R.rotate(R.multiply(shoulder, elbow), torch.tensor([0.0, 0.0, -1.0]).double())
    torch.testing.assert_close(hand, torch.tensor([np.sin(1.0), np.cos(1.0), 0.0]), atol=1e-6, rtol=0.0)
    foot = R.rotate(torch.from_numpy(at["R_Knee"]), torch.tensor([0.0, 0.0, -1.0]).double())
    torch.testing.assert_close(foot, torch.tensor([-np.sin(1.0), 0.0, -np.cos(1.0)]), atol=1e-6, rtol=0.0)


def test_a_ball_joint_that_is_no_number_is_not_turned_as_mimickit_reads_it():
    frames = np.zeros((5, 34))
    frames[:, 2], frames[:, 9:12] = 0.9, np.nan
    (motion,) = read(mimickit(frames))
    assert "1 joint not a number" in motion.remarks[0] and np.isfinite(motion.rotations).all()
    frames[3, 9] = 0.0
    with pytest.raises(UserError, match=r"walk\.x: frames, column 10, of frame 3 is not a finite number"):
        read(mimickit(frames))


def test_protomotions_smpl_is_a_skeletons_and_a_library_is_all_of_its_motions():
    pos, rotations = smpl_walk()
    one = smpl_motion()
    short = {key: value[:20] if isinstance(value, torch.Tensor) else value for key, value in one.items()}
    first, second = read(library(one, short, names=("a/walk.motion", "b/run.motion")))
    assert (first.name, second.name, len(second.time)) == ("walk", "run", 20)
    assert (
        first.fps == pytest.approx(FPS)
        and close(first.rotations, rotations)
        and close(second.rotations, rotations[:20])
    )
    np.testing.assert_allclose(first.skeleton.offsets, skeleton().offsets, atol=1e-9)
    np.testing.assert_allclose(first.root_pos_w, pos)


# BVH ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX"])
def test_bvh_channels_are_read_in_any_order(order):
    """The first channel is the outermost rotation; y up becomes z up: (x, y, z) -> (x, -z, y)."""
    (motion,) = read(bvh(order))
    q = np.array([1.0, 0.0, 0.0, 0.0])
    for axis, degrees in zip(order, (10.0, 20.0, 30.0), strict=True):
        step = turn({"X": "x", "Y": "z", "Z": "y"}[axis], np.radians([-degrees if axis == "Z" else degrees]))[0]
        q = R.multiply(torch.from_numpy(q), torch.from_numpy(step)).numpy()
    assert close(motion.root_quat_w[:1], q[None])
    np.testing.assert_allclose(motion.root_pos_w[:, 2], 0.9, atol=1e-9)
    np.testing.assert_allclose(motion.root_pos_w[:, 1], -0.01 * np.arange(20), atol=1e-9)
    assert motion.skeleton.names == ("Hips", "Left Leg", "Left Leg.end", "Spine", "Spine.end")
    np.testing.assert_allclose(motion.skeleton.offsets[1], [0.1, 0.0, -0.45], atol=1e-9)
    np.testing.assert_allclose(motion.skeleton.offsets[4], [0.0, -0.05, 0.2], atol=1e-9)
    assert motion.fps == 30.0


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (r"(OFFSET|CHANNELS|JOINT|ROOT|Time:) +", "\\1\t"),
        (r"End Site", "End\tSite"),
        (r"\n\s*\{", " {"),
        (r"\n", "\n\n"),
        (r"\n", "\r\n"),
    ],
)
def test_white_space_and_braces_of_a_bvh_may_be_anywhere(old, new):
    (plain,), (other,) = read(bvh()), read(re.sub(old, new, bvh().decode()).encode())
    assert re.search(old, bvh().decode()) and other.skeleton.names == plain.skeleton.names
    np.testing.assert_array_equal(other.skeleton.offsets, plain.skeleton.offsets)
    np.testing.assert_array_equal(other.rotations, plain.rotations)


@pytest.mark.parametrize(
    ("unit", "scale"), [("m", 0.01), ("cm", 1.0), ("mm", 10.0), ("inch", 1 / 2.54), ("CMU", 1 / 5.6444)]
)
def test_a_bvhs_unit_is_determined_by_the_height_of_its_hips(unit, scale):
    (motion,) = read(bvh(scale=scale))
    assert motion.root_pos_w[0, 2] == pytest.approx(0.9, rel=1e-3)
    assert f"lengths are taken as {unit}" in motion.remarks[-1]
    (given,) = read(bvh(scale=scale), unit="cm")
    assert given.root_pos_w[0, 2] == pytest.approx(0.9 * scale, rel=1e-5)


def test_a_t_pose_in_front_of_a_bvh_is_left_out():
    rows = [[0.0, 90.0, 0.0, *[0.0] * 9], *([0.0, 90.0, i, 10.0, 0.0, 0.0, 40.0 + i, *[0.0] * 5] for i in range(20))]
    (motion,) = read(bvh(rows=rows))
    assert len(motion.time) == 20 and "first frame, a pose apart" in motion.remarks[0]


def test_places_of_a_bvh_are_those_of_hand_arithmetic():
    """One leg, turned by 90 degrees about the file's x, points backwards: y up, -z is our y."""
    rows = [[0.0, 90.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 90.0, 0.0, 0.0, 0.0]] * 3
    (motion,) = read(bvh(rows=rows), unit="cm")
    places = body_positions(motion.root_pos_w, motion.rotations, motion.skeleton.offsets, motion.skeleton.parents)
    np.testing.assert_allclose(places[0, 1], [0.1, 0.0, 0.45], atol=1e-6)
    np.testing.assert_allclose(places[0, 2], [0.1, 0.45, 0.45], atol=1e-6)


# Robots ------------------------------------------------------------------------------------------------------------------


def test_npz_is_read_without_names_and_with_the_root_in_the_joints(robot):
    pos, quat, joints, bodies = robot_walk(robot)
    (motion,) = read(mjlab(robot))
    assert isinstance(motion, JointMotion) and motion.joint_names == ()
    np.testing.assert_allclose(motion.root_pos_w, pos)
    np.testing.assert_allclose(motion.body_pos_w, bodies)
    (named,) = read(holosoma(robot))
    assert isinstance(named, JointMotion) and named.joint_names == robot.joint_names[::-1]
    assert close(named.root_quat_w, quat) and named.body_names[0] == "world"
    np.testing.assert_allclose(named.joint_pos[:, ::-1], joints)


def test_gmr_is_read_with_its_bodies_in_the_world_frame(robot):
    _, quat, joints, bodies = robot_walk(robot)
    (motion,) = read(gmr(robot))
    assert isinstance(motion, JointMotion) and motion.fps == 29.97
    np.testing.assert_allclose(motion.joint_pos, joints)
    assert close(motion.root_quat_w, quat)
    np.testing.assert_allclose(motion.body_pos_w, bodies, atol=1e-9)


def test_gmrs_keys_are_read_from_a_npz(robot):
    pos, quat, joints, _ = robot_walk(robot)
    (motion,) = read(npz(fps=30, root_pos=pos, root_rot=np.roll(quat, -1, axis=1), dof_pos=joints))
    assert isinstance(motion, JointMotion) and motion.format == "gmr" and motion.fps == 30.0
    np.testing.assert_array_equal(motion.joint_pos, joints)
    assert close(motion.root_quat_w, quat)


def test_asaps_collections_are_read():
    pos, quat, joints, _ = robot_walk(G1)
    one = mapping(root_trans_offset=packed(pos), root_rot=packed(np.roll(quat, -1, axis=1)), dof=packed(joints[..., None]),
                  pose_aa=packed(np.zeros((FRAMES, 30, 3))), fps=number(FPS))  # fmt: skip
    (motion,) = read(pickled(mapping(walk_1=one)))
    assert isinstance(motion, JointMotion) and motion.name == "walk_1"
    np.testing.assert_allclose(motion.joint_pos, joints)


def test_mimickits_robots_and_protomotions_robots_are_read():
    pos, quat, joints, _ = robot_walk(G1)
    frames = np.concatenate([pos, rotation_vectors(quat), joints], axis=1)
    for contents in (mimickit(frames), saved(protomotions(G1))):
        (motion,) = read(contents)
        assert isinstance(motion, JointMotion)
        np.testing.assert_allclose(motion.joint_pos, joints)
        np.testing.assert_allclose(motion.root_pos_w, pos)
        assert close(motion.root_quat_w, quat)


# Options -----------------------------------------------------------------------------------------------------------------


def test_y_up_and_other_units_are_converted():
    """A SMPL motion whose world frame was turned to y up, in centimetres: (x, y, z) -> (x, z, -y)."""
    pos, rotations = smpl_walk()
    back = torch.tensor([np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0])
    root = R.multiply(back.expand(FRAMES, 4), torch.from_numpy(rotations[:, 0])).numpy()
    y_up = 100.0 * np.stack([pos[:, 0], pos[:, 2], -pos[:, 1]], axis=1)
    frames = np.concatenate(
        [y_up, rotation_vectors(root), rotation_vectors(rotations[:, 1:]).reshape(FRAMES, -1)], axis=1
    )
    (motion,) = read(mimickit(frames), up="y", unit="cm")
    np.testing.assert_allclose(motion.root_pos_w, pos, atol=1e-9)
    assert close(motion.rotations, rotations)
    (larger,) = read(mimickit(frames), up="y", scale=0.02)
    np.testing.assert_allclose(larger.root_pos_w, 2.0 * pos, atol=1e-9)
    np.testing.assert_allclose(larger.skeleton.offsets, 0.02 * skeleton().offsets)


def test_the_source_of_a_recording_is_kept():
    (motion,) = read(poselib())
    assert motion.source.startswith("walk.x (poselib SkeletonMotion, sha256 ") and "--" not in motion.source
    (motion,) = read(poselib(), fps=50.0, up="z", scale=2.0)
    assert motion.source.endswith(", read with --fps 50 --up z --scale 2)")


def test_smpl_has_the_joints_of_the_robot_of_that_name():
    """To the millimetre: the robot's model rounds them, too."""
    np.testing.assert_allclose(skeleton().offsets[1:], [body.offset for body in SMPL.bodies[1:]], atol=1e-9)
    assert skeleton().names == SMPL.body_names


def test_a_new_format_is_a_file_and_a_line(monkeypatch, tmp_path):
    """A format that describes a standing person in words."""

    def toy(document: Document, options: Options) -> list[SkeletonMotion]:
        pos = np.tile([0.0, 0.0, 0.95], (30, 1))
        still = np.tile([1.0, 0.0, 0.0, 0.0], (30, 24, 1))
        rate = options.fps or 30.0
        return [SkeletonMotion(document.name, np.arange(30) / rate, pos, still[:, 0], rate, "toy", document.file,
                               skeleton=skeleton(), rotations=still)]  # fmt: skip

    line = Reader("toy of a person", lambda document: document.has("stands"), toy)
    monkeypatch.setitem(READERS, "toy", line)
    (tmp_path / "stand.pkl").write_bytes(pickled(mapping(stands=number(1))))
    done = CliRunner().invoke(
        main, ["motions", "import", str(tmp_path / "stand.pkl"), "--output", str(tmp_path), "--robot", "g1"]
    )
    assert done.exit_code == 0, done.output
    assert load_clip(tmp_path / "g1_stand.npy", G1).source.startswith("stand.pkl (toy of a person, sha256 ")
