"""Any skeleton onto any robot: roles by names, answers that are known, feet that stand."""

from dataclasses import replace

import kneed
import numpy as np
import pytest
import walkers
from click.testing import CliRunner, Result

from protege.core.errors import UserError
from protege.core.motions import Clip, load_clip
from protege.sim.cli import main
from protege.sim.motions.anatomy import LEGS, REQUIRED, ROLES, in_skeleton, roles_of, shipped_maps
from protege.sim.motions.body_map import body_map
from protege.sim.motions.feet import _Leg
from protege.sim.motions.importer import fit, motions_in
from protege.sim.motions.inspect import inspect
from protege.sim.motions.inverse_kinematics import aims, solve
from protege.sim.motions.map_command import propose_map
from protege.sim.motions.proposal import propose
from protege.sim.motions.readers.humanoid3d import skeleton as humanoid
from protege.sim.motions.readers.options import Options
from protege.sim.motions.readers.smpl_family import NAMES as SMPL
from protege.sim.motions.retarget import fitted
from protege.sim.motions.skeleton_onto import off
from protege.sim.motions.soles import standing
from protege.sim.motions.world_poses import of_clip, of_motion, robot_poses
from protege.sim.robots import get_robot

LAFAN1 = walkers.NAMES
CMU = """Hips LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase RHipJoint RightUpLeg RightLeg RightFoot RightToeBase LowerBack Spine
Spine1 Neck Neck1 Head LeftShoulder LeftArm LeftForeArm LeftHand LeftFingerBase LThumb RightShoulder RightArm RightForeArm
RightHand RightFingerBase RThumb"""
MIXAMO = """Hips Spine Spine1 Spine2 Neck Head HeadTop_End LeftShoulder LeftArm LeftForeArm LeftHand
RightShoulder RightArm RightForeArm RightHand LeftUpLeg LeftLeg LeftFoot LeftToeBase RightUpLeg RightLeg RightFoot RightToeBase"""
STYLE100 = """Hips Chest Chest2 Chest3 Chest4 Neck Head RightCollar RightShoulder RightElbow RightWrist LeftCollar LeftShoulder
LeftElbow LeftWrist RightHip RightKnee RightAnkle RightToe LeftHip LeftKnee LeftAnkle LeftToe"""
WALKER = in_skeleton(shipped_maps()["hips"], walkers.NAMES)


def odd_turns() -> np.ndarray:
    """(22, 4) turns of frames by which a skeleton at rest is no person at all."""
    turns = np.random.default_rng(0).normal(size=(len(walkers.NAMES), 4))
    return turns / np.linalg.norm(turns, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("names", "torso", "knee"),
    [
        (LAFAN1, "Spine2", "LeftLeg"),
        (CMU.split(), "Spine1", "LeftLeg"),
        ([f"mixamorig:{name}" for name in MIXAMO.split()], "mixamorig:Spine2", "mixamorig:LeftLeg"),
        (STYLE100.split(), "Chest4", "LeftKnee"),
        (SMPL, "Chest", "L_Knee"),
    ],
    ids=["lafan1", "cmu", "mixamo", "100style", "smpl"],
)
def test_conventions_have_a_body_for_every_role(names, torso, knee):
    roles = roles_of(names)
    assert roles is not None
    assert set(roles) == set(ROLES)
    assert len(set(roles.values())) == len(ROLES)
    assert (roles["torso"], roles["left_knee"]) == (torso, knee)


def test_deepmimics_humanoid_has_what_is_required_but_for_hands_and_toes():
    roles = roles_of(humanoid().names)
    assert roles is not None and set(ROLES) - set(roles) == {
        "head",
        "left_toe",
        "right_toe",
        "left_wrist",
        "right_wrist",
    }


def test_maps_name_roles_alone():
    for name, data in shipped_maps().items():
        assert set(REQUIRED) <= set(data) <= set(ROLES), name


def test_every_robot_follows_every_required_role(robot):
    targets = body_map(robot)
    assert set(REQUIRED) <= {target.role for target in targets}
    assert {target.body for target in targets} <= set(robot.body_names)
    assert set(LEGS) <= set(REQUIRED)


def test_unknown_skeletons_have_no_roles():
    assert roles_of(["a", "b", "c"]) is None
    assert in_skeleton({"pelvis": ["x", "Hips"]}, ["Hips", "Spine"]) == {"pelvis": "Hips"}


def test_two_link_legs_bend_by_the_law_of_cosines(tmp_path):
    # The walker's thighs and shanks are of other lengths: scaled, the robot's legs would reach 0.6 / 0.82 of its.
    robot = get_robot(str(kneed.write(tmp_path)))
    motion = walkers.walk(1.0).motion
    wanted = aims(of_motion(motion), WALKER, robot)
    assert wanted.scale == pytest.approx((kneed.THIGH + kneed.SHANK) / (walkers.THIGH + walkers.SHANK))
    qpos = solve(robot, wanted)
    _, quat = robot_poses(robot, qpos[:, :3], qpos[:, 3:7], qpos[:, 7:])
    # Each link points as the source's, whatever its length: the hinges have the source's angles.
    for joint, body in (
        ("left_hip", "LeftUpLeg"),
        ("left_knee", "LeftLeg"),
        ("left_ankle", "LeftFoot"),
        ("right_knee", "RightLeg"),
    ):
        angle = 2.0 * np.arctan2(
            motion.rotations[:, walkers.NAMES.index(body), 2], motion.rotations[:, walkers.NAMES.index(body), 0]
        )
        np.testing.assert_allclose(
            qpos[:, 7 + robot.joint_names.index(joint)], angle, atol=0.015
        )  # the posture pulls a little
    np.testing.assert_allclose(np.abs(quat[:, robot.body_names.index("left_foot"), 0]), 1.0, atol=1e-3)


def test_a_leg_bends_as_far_as_its_foot_is_lifted(tmp_path):
    robot = get_robot(str(kneed.write(tmp_path)))
    pose = np.concatenate([[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0], robot.default_joint_pos])
    angles = _Leg(robot, "left_foot").moved(pose, np.array([0.0, 0.0, 0.1]))
    # From a knee at 0.4 rad the ankle is 2 · 0.3 · cos(0.2) below the hip; lifted by 10 cm, it is at half of that over 0.3.
    half = np.arccos((2.0 * 0.3 * np.cos(0.2) - 0.1) / 0.6)
    np.testing.assert_allclose(angles, [-half, 2.0 * half, -half], atol=8e-3)


def test_a_robot_follows_its_own_clip_back(robot):
    clip = load_clip(f"{robot.name}_humanoid_walk.npy", robot)
    part = Clip("part", clip.time[:20], clip.root_pos_w[:20], clip.root_quat_w[:20], clip.joint_pos[:20])
    roles = {target.role: target.body for target in body_map(robot)}
    wanted = aims(of_clip(part, robot), roles, robot)
    assert wanted.scale == pytest.approx(1.0)
    qpos = solve(robot, wanted)
    moved = replace(part, root_pos_w=qpos[:, :3], root_quat_w=qpos[:, 3:7], joint_pos=qpos[:, 7:])
    assert off(moved, robot, wanted) < 0.015
    knees = [i for i, joint in enumerate(robot.joints) if joint.body in (roles["left_knee"], roles["right_knee"])]
    assert np.abs(qpos[:, 7:][:, knees] - part.joint_pos[:, knees]).mean() < 0.03


@pytest.mark.parametrize("slide", [0.0, 0.1])
def test_standing_feet_are_detected_although_they_slide(slide):
    walk = walkers.walk(slide=slide)
    for found, known in zip(standing(walk.motion.time, of_motion(walk.motion), WALKER), walk.standing, strict=True):
        edges = int(np.abs(np.diff(known.astype(int))).sum())
        assert (found.foot != known).sum() <= 3 * edges
        inside = np.convolve(known, np.ones(9), "same") == 9
        assert found.foot[inside].all()


def test_feet_that_slide_are_held(robot):
    motion = walkers.walk(slide=0.15).motion
    done = fitted(motion, robot)
    report = inspect(done.clip, robot)
    assert report.slide.mean < 0.05 and report.slide.contact > 0.95
    assert report.penetration.max < 0.01 and report.limits.violations == 0
    assert report.joint_jump.change < 10.0 and report.root_jump.change < 0.3
    assert float(done.notes[0].split()[3]) < 4.0
    before = float(done.notes[1].split(", ")[1].split()[0])
    assert before > 2.0 * report.slide.mean


def test_rest_poses_do_not_matter(robot):
    motion = walkers.walk(1.5).motion
    odd = walkers.with_other_rest(motion, odd_turns())
    clips = [fitted(one, robot).clip for one in (motion, odd)]
    np.testing.assert_allclose(clips[0].root_pos_w, clips[1].root_pos_w, atol=0.01)
    legs = [i for i, joint in enumerate(robot.joints) if "knee" in joint.name.lower()]
    np.testing.assert_allclose(clips[0].joint_pos[:, legs], clips[1].joint_pos[:, legs], atol=0.05)


def test_a_flight_stays_as_it_was(robot):
    """The whole walker is thrown up and comes down: between, nothing is added to its height but what is even."""
    motion = walkers.walk(2.0, speed=0.0).motion
    flight = (motion.time > 0.7) & (motion.time < 1.3)
    height = np.where(flight, 4.9 * (motion.time - 0.7) * (1.3 - motion.time), 0.0)
    stand = np.tile(motion.rotations[:1], (len(motion.time), 1, 1))
    root = motion.root_pos_w[:1] + height[:, None] * [0.0, 0.0, 1.0]
    jump = replace(motion, rotations=stand, root_pos_w=root, root_quat_w=stand[:, 0])
    clip = fitted(jump, robot).clip
    scale = float(aims(of_motion(jump), WALKER, robot).scale)
    inside = slice(np.flatnonzero(flight)[8], np.flatnonzero(flight)[-8])
    extra = clip.root_pos_w[inside, 2] - scale * root[inside, 2]
    assert np.ptp(np.diff(extra)) < 1e-3


def test_a_bvh_is_retargeted_with_a_note_on_its_error(robot):
    text = walkers.as_bvh(walkers.with_other_rest(walkers.walk(1.5).motion, odd_turns()))
    (motion,) = motions_in(text.encode(), "walk.bvh", "walk", Options())
    found, clip = fit(motion, robot, Options())
    assert clip.name == f"{robot.name}_walk" and not clip.warnings and clip.robot == robot.name
    assert any("key points are" in remark for remark in found.remarks)


def test_robots_say_how_they_follow(tmp_path):
    motion = walkers.walk(1.0).motion
    for broken, message in (
        (kneed.FOLLOWS.replace("left_shank: {role: left_knee", "left_shank: {role: knee"), "left_shank has an unknown role 'knee'"),
        (kneed.FOLLOWS.replace("left_foot:", "left_paw:"), "kneed has no body left_paw"),
        (kneed.FOLLOWS.replace("after: left_shank", "after: left_shin"), "left_foot comes after left_shin"),
        ("trunk: {role: pelvis, position: 5}\n", "lacks the role left_hip"),
        ("left_thigh: {role: left_hip}\n", "does not begin with the root"),
        ("trunk: 1\n", "trunk is not of the form"),
    ):  # fmt: skip
        folder = tmp_path / str(abs(hash(message)))
        robot = get_robot(str(kneed.write(folder, broken)))
        body_map.cache_clear()
        with pytest.raises(UserError, match=message):
            fitted(motion, robot)
    file = kneed.write(tmp_path / "none")
    (file.parent / "retarget.yaml").unlink()
    body_map.cache_clear()
    with pytest.raises(UserError, match=r"does not say how it follows other skeletons\. Write retarget.yaml beside"):
        fitted(motion, get_robot(str(file)))


def test_a_map_is_proposed_for_strange_names(tmp_path, robot):
    strange = {"Hips": "cog", "Spine2": "bone3", "LeftUpLeg": "thigh_l", "LeftLeg": "bone7", "LeftFoot": "foot_l",
               "LeftArm": "upperarm_l", "LeftForeArm": "bone9", "LeftHand": "hand_l"}  # fmt: skip
    walk = walkers.walk(1.0).motion
    motion = walkers.renamed(walk, tuple(strange.get(name, name) for name in walkers.NAMES))
    file = tmp_path / "strange.bvh"
    file.write_text(walkers.as_bvh(motion))
    with pytest.raises(UserError, match=r"what is what .* is not known .*protege sim motions map"):
        fitted(motion, robot)
    proposed = propose_map(str(file), robot, Options())
    assert not [remark for remark in proposed.remarks if "could not place" in remark]
    for line in ("left_knee: bone7  # by its place", "left_elbow: bone9  # by its place", "torso: bone3  # by its place",
                 "left_hip: thigh_l\n", "pelvis: cog\n"):  # fmt: skip
        assert line in proposed.text
    (tmp_path / "map.yaml").write_text(proposed.text)
    (read,) = motions_in(file.read_bytes(), "strange.bvh", "strange", Options())
    _, clip = fit(read, robot, Options(map=str(tmp_path / "map.yaml")))
    np.testing.assert_allclose(clip.joint_pos, fitted(walk, robot).clip.joint_pos, atol=0.02)


def test_posers_names_are_known():
    """Poser's and DAZ Studio's names, in which one release of all of CMU's recordings is."""
    parts = {"UpLeg": "Thigh", "Leg": "Shin", "Foot": "Foot", "Arm": "Shldr", "ForeArm": "ForeArm", "Hand": "Hand"}
    names = {f"{side}{part}": f"{side[0].lower()}{name}" for side in ("Left", "Right") for part, name in parts.items()}
    names |= {"Hips": "hip", "Spine2": "abdomen"}
    motion = walkers.renamed(walkers.walk(1.0).motion, tuple(names.get(name, name) for name in walkers.NAMES))
    proposed = propose(motion.skeleton)
    roles = {"hip": "Thigh", "knee": "Shin", "ankle": "Foot", "shoulder": "Shldr", "elbow": "ForeArm", "wrist": "Hand"}
    expected = {f"{side}_{role}": f"{side[0]}{name}" for side in ("left", "right") for role, name in roles.items()}
    assert expected.items() <= proposed.roles.items() and not {*expected} & {*proposed.by_place}
    assert (proposed.roles["pelvis"], proposed.roles["torso"]) == ("hip", "abdomen")


def test_unplaced_roles_are_reported(tmp_path, robot):
    motion = walkers.renamed(walkers.walk(0.5).motion, tuple(f"bone{i}" for i in range(len(walkers.NAMES))))
    (tmp_path / "bones.bvh").write_text(walkers.as_bvh(motion))
    proposed = propose_map(str(tmp_path / "bones.bvh"), robot, Options())
    assert "could not place left_knee, which has to be there" in proposed.remarks
    assert "# left_knee: ?" in proposed.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pelvis: Hips\n", "lacks torso"),
        ("knee: Hips\n", "names a role 'knee'"),
        ("pelvis: Hip\n", "has no body Hip"),
        ("- pelvis\n", "holds no roles"),
        ("pelvis: [\n", "cannot read the map"),
    ],
)
def test_maps_that_do_not_fit_are_refused(tmp_path, text, message):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        fit(walkers.walk(0.5).motion, get_robot("g1"), Options(map=str(tmp_path / "map.yaml")))


def test_the_commands_map_and_import_go_together(tmp_path):
    def call(*words: object) -> Result:
        return CliRunner().invoke(main, [str(word) for word in words])

    names = tuple(name.replace("LeftLeg", "Strut") for name in walkers.NAMES)
    (tmp_path / "strut.bvh").write_text(walkers.as_bvh(walkers.renamed(walkers.walk(1.0).motion, names)))
    printed = call("motions", "map", tmp_path / "strut.bvh", "--robot", "g1")
    assert printed.exit_code == 0 and "left_knee: Strut  # by its place\n" in printed.stdout
    written = call("motions", "map", tmp_path / "strut.bvh", "--robot", "g1", "--output", tmp_path / "map.yaml")
    assert written.exit_code == 0 and (tmp_path / "map.yaml").read_text() == printed.stdout
    done = call("motions", "import", tmp_path / "strut.bvh", "--robot", "g1", "--map", tmp_path / "map.yaml",
                "--output", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0 and "g1_strut.npy" in done.stdout and "key points are" in done.stderr
    none = call("motions", "import", tmp_path / "strut.bvh", "--robot", "g1", "--map", tmp_path / "no.yaml",
                "--output", tmp_path / "out")  # fmt: skip
    assert none.exit_code == 2 and "cannot read the map" in none.stderr and none.stderr.count("\n") == 1
