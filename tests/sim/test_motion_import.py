"""Files of motions onto robots: joints by name and by order, SMPL's bodies as hinges, commands, and the cache of --motion-file."""

import json
import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from motion_files import (
    FPS,
    FRAMES,
    G1,
    SMPL,
    amass,
    bvh,
    csv,
    gmr,
    holosoma,
    library,
    mimickit,
    mjlab,
    npz,
    phc,
    poselib,
    protomotions,
    robot_walk,
    rotation_vectors,
    saved,
    smpl_motion,
    smpl_walk,
)  # fmt: skip

from protege.core.errors import UserError
from protege.core.motions import Clip, clip_robot, load_clip, load_clips, read_clip, save_clip
from protege.core.robots.kinematics import Kinematics
from protege.core.robots.robot import Robot
from protege.sim import motion_files
from protege.sim.cli import main
from protege.sim.motions.importer import clips_in
from protege.sim.motions.readers.options import Options
from protege.sim.motions.readers.smpl_family import skeleton
from protege.sim.motions.skeleton_kinematics import body_positions

WRISTS = [i for i, name in enumerate(G1.joint_names) if "wrist" in name]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "motions"


def clips(contents: bytes, robot: Robot, **options) -> list[Clip]:
    return [clip for _, clip in clips_in(contents, "walk.x", "walk", Options(**options), robot)]


def bodies(clip: Clip, robot: Robot) -> np.ndarray:
    """(T, B, 3) m."""
    pose = (clip.root_pos_w, clip.root_quat_w, clip.joint_pos)
    return Kinematics(robot).double()(*map(torch.from_numpy, pose))[0].numpy()


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


# A robot's own joints ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [csv, mjlab, lambda r: mjlab(r, breadth_first=True), holosoma, gmr],
                         ids=["csv", "mjlab", "Isaac Lab", "holosoma", "GMR"])  # fmt: skip
def test_a_robots_own_motion_stays_as_it_is(robot, write):
    """In any order of its joints: names or the bodies' positions determine it."""
    pos, _, joints, places = robot_walk(robot)
    (clip,) = clips(write(robot), robot, quat="xyzw" if write is csv else None, ground="none")
    np.testing.assert_allclose(clip.joint_pos, joints, atol=1e-6)
    np.testing.assert_allclose(clip.root_pos_w, pos, atol=1e-6)
    np.testing.assert_allclose(bodies(clip, robot), places, atol=1e-4)
    assert (clip.robot, clip.joint_names) == (robot.name, robot.joint_names)


def test_mimickit_and_protomotions_are_in_a_robots_own_order():
    pos, quat, joints, places = robot_walk(G1)
    frames = np.concatenate([pos, rotation_vectors(quat), joints], axis=1)
    for contents in (mimickit(frames), saved(protomotions(G1)), library(protomotions(G1))):
        (clip,) = clips(contents, G1, ground="none")
        np.testing.assert_allclose(bodies(clip, G1), places, atol=1e-4)


def test_joints_that_a_format_holds_at_zero_are_filled_in():
    """GMT's 23 of the G1's 29: no wrists."""
    kept = [i for i in range(29) if i not in WRISTS]
    _, _, joints, _ = robot_walk(G1)
    (clip,) = clips(gmr(G1, kept), G1, ground="none")
    np.testing.assert_allclose(clip.joint_pos[:, kept], joints[:, kept], atol=1e-6)
    np.testing.assert_array_equal(clip.joint_pos[:, WRISTS], 0.0)


def test_other_joints_that_are_missing_are_refused_and_named():
    cases = [
        (csv(G1, head=True, joints=23), "walk.x has no columns of right_shoulder_roll_joint, right_shoulder_yaw_joint"),
        (csv(G1, joints=23), "walk.x has 23 joints without names, g1 has 29. Name its columns"),
        (csv(SMPL), "walk.x has 69 joints without names, g1 has 29. Add --robot smpl"),
        (csv(SMPL, head=True), "walk.x has the joints L_Hip_x, L_Hip_y, L_Hip_z, L_Knee_x and 65 more, which g1 has not"),
        (gmr(G1, list(range(6, 29))), "walk.x: its bodies are 0."),
        (npz(fps=30.0, joint_pos=np.zeros((9, 29)), body_pos_w=np.zeros((9, 14, 3)),
             body_quat_w=np.tile([1.0, 0.0, 0.0, 0.0], (9, 14, 1))), "its 14 bodies do not tell their order"),
    ]  # fmt: skip
    for contents, message in cases:
        with pytest.raises(UserError) as caught:
            clips(contents, G1, quat="xyzw" if contents[:1] not in b"P\x80" else None)
        assert str(caught.value).startswith(message) or message in str(caught.value), caught.value


def test_a_cycle_is_closed_within_a_quarter_second_of_its_ends_and_repeated():
    """Its joints drift by 0.1 rad; what lies between stays as it is."""
    pos, quat, joints, _ = robot_walk(G1)
    joints = joints + np.linspace(0.0, 0.1, FRAMES)[:, None] * (np.arange(29) == 0)
    (clip,) = clips(mimickit(np.concatenate([pos, rotation_vectors(quat), joints], axis=1), 1), G1, ground="none")
    assert clip.is_cyclic and 10.0 <= clip.duration < 12.1
    np.testing.assert_allclose(clip.joint_pos[8:52], joints[8:52], atol=1e-6)
    np.testing.assert_allclose(clip.joint_pos[0], clip.joint_pos[FRAMES - 1], atol=1e-6)
    np.testing.assert_allclose(clip.joint_pos[0, 0], joints[[0, -1], 0].mean(), atol=1e-6)


def test_a_recording_at_240_frames_a_second_is_thinned():
    pos, quat, joints, _ = robot_walk(G1, 481, 240.0)
    frames = np.concatenate([pos, quat, joints], axis=1)
    (clip,) = clips(
        "\n".join(",".join(map(str, row)) for row in frames).encode(), G1, fps=240.0, quat="wxyz", ground="none"
    )
    assert (len(clip.time), clip.fps, clip.duration) == (241, 120.0, 2.0)
    np.testing.assert_allclose(clip.joint_pos, joints[::2], atol=1e-6)


# SMPL --------------------------------------------------------------------------------------------------------------------


def smpl_files() -> dict[str, bytes]:
    pos, rotations = smpl_walk()
    frames = np.concatenate([pos, rotation_vectors(rotations).reshape(FRAMES, -1)], axis=1)
    return {"poselib": poselib(), "SMPL-H": amass(), "SMPL-X": amass("smplx"), "PHC": phc(("walk",)), "MimicKit": mimickit(frames),
            "ProtoMotions": saved(smpl_motion())}  # fmt: skip


@pytest.mark.parametrize("kind", smpl_files())
def test_smpls_bodies_are_where_they_were(kind):
    """Against the places of the file's own skeleton; the height is the floor's."""
    pos, rotations = smpl_walk()
    body = skeleton()
    wanted = body_positions(pos, rotations, body.offsets, body.parents)
    (clip,) = clips(smpl_files()[kind], SMPL, ground="shift")
    off = bodies(clip, SMPL) - wanted
    np.testing.assert_allclose(off - off[:, :1], 0.0, atol=1e-5)
    np.testing.assert_allclose(off[..., :2], 0.0, atol=1e-5)
    assert np.ptp(off[..., 2]) < 1e-5
    assert clip.fps == FPS and clip.source.startswith("walk.x (")


def test_legs_of_another_length_make_other_strides():
    """A person of twice the size walks twice as far; the robot walks as far as for a person of its own size."""
    pos, rotations = smpl_walk()
    frames = np.concatenate([pos, rotation_vectors(rotations).reshape(FRAMES, -1)], axis=1)
    (once,), (twice,) = clips(mimickit(frames), SMPL), clips(mimickit(frames), SMPL, scale=2.0)
    np.testing.assert_allclose(twice.root_pos_w, once.root_pos_w, atol=1e-6)


def test_smpl_gets_to_other_robots_by_inverse_kinematics():
    (clip,) = clips(amass(), G1)
    assert (clip.robot, clip.fps) == ("g1", 60.0)
    assert clip.duration == pytest.approx((FRAMES - 1) / FPS)
    ankles = [G1.body_names.index(f"{side}_ankle_roll_link") for side in ("left", "right")]
    assert bodies(clip, G1)[:, ankles, 2].min() > 0.0


# The command -------------------------------------------------------------------------------------------------------------


def test_files_of_any_name_are_imported(tmp_path):
    (tmp_path / "Ein Spaziergang, früh.npy").write_bytes(poselib())
    done = call(
        "motions", "import", tmp_path / "Ein Spaziergang, früh.npy", "--output", tmp_path / "out", "--robot", "smpl"
    )
    assert done.exit_code == 0, done.output
    assert os.listdir(tmp_path / "out") == ["smpl_Ein_Spaziergang_fruh.npy"]
    assert load_clip(tmp_path / "out" / "smpl_Ein_Spaziergang_fruh.npy", SMPL).source.startswith("Ein Spaziergang, fr")
    done = call(
        "motions", "import", "poselib", next(tmp_path.glob("*.npy")), "--output", tmp_path / "out", "--name", "stroll"
    )
    assert done.exit_code == 0 and (tmp_path / "out" / "smpl_stroll.npy").is_file()


def test_a_folder_goes_on_past_bad_files_and_names_them(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    (source / "a.npy").write_bytes(poselib())
    (source / "bad.npz").write_bytes(amass()[:500])
    (source / "deep" / "c.npz").write_bytes(amass())
    (source / "lfs.pkl").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    (source / "README.md").write_text("walks, runs")
    np.save(source / "array.npy", np.zeros((9, 3)))
    (source / "shape.npz").write_bytes(npz(betas=np.zeros(16), gender=np.array("male")))
    save_clip(source / "clip.npy", clips(poselib(), SMPL)[0], SMPL)
    done = call("motions", "import", source, "--output", out)
    assert done.exit_code == 2
    assert sorted(os.listdir(out)) == ["smpl_a.npy", "smpl_c.npy"]
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines[-3:]] == ["not imported", "not imported", "error"]
    assert "bad.npz is damaged or cut short" in lines[-3] and "lfs.pkl is a git-LFS pointer" in lines[-2]
    assert lines[-1] == "error: 2 files could not be imported. They are listed above; all others were imported"
    passed = (
        f"passed over 3 files that are clips already or no motions: {source / 'array.npy'}, {source / 'clip.npy'}, "
    )
    assert passed in done.stderr


def test_of_several_files_all_are_imported_or_none(tmp_path):
    (tmp_path / "a.npy").write_bytes(poselib())
    (tmp_path / "b.npz").write_bytes(amass(trans=np.full((FRAMES, 3), np.nan)))
    done = call("motions", "import", tmp_path / "a.npy", tmp_path / "b.npz", "--output", tmp_path / "out")
    assert done.exit_code == 2 and "b.npz: trans, column 0, of frame 0 is not a finite number" in done.stderr
    assert not (tmp_path / "out").exists()


def test_archives_contain_any_format_and_their_folders_are_ignored(tmp_path):
    with ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("../../up/a.npy", poselib())
        archive.writestr("b/c.npz", amass())
        archive.writestr("b/notes.txt", "walk")
    done = call("motions", "import", tmp_path / "all.zip", "--output", tmp_path / "deep" / "er" / "out")
    assert done.exit_code == 0, done.output
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("smpl_*.npy")) == [
        "deep/er/out/smpl_a.npy", "deep/er/out/smpl_c.npy"]  # fmt: skip
    done = call("motions", "import", tmp_path / "all.zip", "--output", tmp_path / "one", "--name", "c")
    assert os.listdir(tmp_path / "one") == ["smpl_c.npy"]


def test_a_folder_of_clips_alone_holds_nothing_to_import(tmp_path):
    save_clip(tmp_path / "clip.npy", clips(poselib(), SMPL)[0], SMPL)
    done = call("motions", "import", tmp_path, "--output", tmp_path / "out")
    assert done.exit_code == 2 and f"no motion in {tmp_path} of 1 files, such as {tmp_path / 'clip.npy'}" in done.stderr


def test_two_motions_of_one_name_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    for path in (tmp_path / "a" / "walk.npy", tmp_path / "walk.npy"):
        path.write_bytes(poselib())
    done = call("motions", "import", tmp_path / "walk.npy", tmp_path / "a" / "walk.npy", "--output", tmp_path / "out")
    assert done.exit_code == 2 and "there are two clips named 'smpl_walk'" in done.stderr


def test_a_motion_that_cannot_be_retargeted_is_rejected(tmp_path):
    (tmp_path / "walk.bvh").write_bytes(bvh())
    done = call("motions", "import", tmp_path / "walk.bvh", "--output", tmp_path / "out")
    assert done.exit_code == 2
    assert "what is what in its skeleton is not known (Hips, Left Leg, Left Leg.end, ...)" in done.stderr


# --motion-file -----------------------------------------------------------------------------------------------------------


def test_motion_files_are_clips_for_every_command_and_are_converted_once(tmp_path, cache, monkeypatch):
    file = tmp_path / "a walk.npy"
    file.write_bytes(poselib())
    first = load_clip(file, SMPL)
    assert (first.name, first.robot, first.fps) == ("a walk", "smpl", FPS)
    (folder,) = cache.iterdir()
    index = json.loads((folder / "index.json").read_text())
    assert (index["file"], index["formats"], index["robot"]) == ("a walk.npy", ["poselib"], "smpl")
    monkeypatch.setattr(motion_files.MotionFiles, "_convert", None)  # from here on all comes from the cache
    again = load_clip(file, SMPL)
    for name in ("time", "root_pos_w", "root_quat_w", "joint_pos"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert (again.source, again.warnings) == (first.source, first.warnings)


def test_another_file_robot_or_program_is_converted_anew(tmp_path, cache, monkeypatch):
    file = tmp_path / "walk.npy"
    file.write_bytes(poselib())
    load_clip(file, SMPL)
    load_clip(file, G1)
    file.write_bytes(poselib(local=True))
    load_clip(file, SMPL)
    assert len(list(cache.iterdir())) == 3
    monkeypatch.setattr(motion_files, "version", lambda _: "another")
    load_clip(file, SMPL)
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_or_read_only_cache_is_not_used(tmp_path, cache, monkeypatch):
    file = tmp_path / "walk.npy"
    file.write_bytes(poselib())
    wanted = load_clip(file, SMPL).joint_pos
    (clip,) = cache.rglob("*.npy")
    clip.write_bytes(clip.read_bytes()[:1000])
    np.testing.assert_array_equal(load_clip(file, SMPL).joint_pos, wanted)
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "taken"))
    np.testing.assert_array_equal(load_clip(file, SMPL).joint_pos, wanted)


def test_several_motions_in_a_file_are_several_clips(tmp_path):
    (tmp_path / "library.pkl").write_bytes(phc())
    assert [clip.name for clip in load_clips([tmp_path / "library.pkl"], SMPL)] == ["smpl_0-walk", "smpl_0-walk_again"]
    with pytest.raises(UserError, match=r"library\.pkl holds 2 motions: smpl_0-walk, .*Import them, and choose one"):
        read_clip(tmp_path / "library.pkl", SMPL)


def test_a_robots_motion_is_inspected_as_that_robots(tmp_path):
    (tmp_path / "walk.csv").write_bytes(csv(G1, head=True))
    (tmp_path / "walk.npy").write_bytes(poselib())
    assert (clip_robot(tmp_path / "walk.csv"), clip_robot(tmp_path / "walk.npy")) == ("g1", "")
    done = call("motions", "inspect", tmp_path / "walk.csv", "--json")
    assert json.loads(done.stdout)["robot"] == "g1"


def test_missing_facts_of_a_file_are_requested_with_the_command_that_takes_them(tmp_path):
    (tmp_path / "walk.csv").write_bytes(csv(G1))
    with pytest.raises(UserError) as caught:
        load_clip(tmp_path / "walk.csv", G1)
    assert "in which order its quaternions are" in caught.value.problem
    assert f"protege sim motions import {tmp_path / 'walk.csv'} --robot g1" in caught.value.remedy
