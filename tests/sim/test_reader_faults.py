"""Bad motion files: one clear line each, with file, frame or joint, and remedy; unusual but valid ones are read."""

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from motion_files import (
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
    packed,
    phc,
    poselib,
    protomotions,
    robot_walk,
    rotation_vectors,
    saved,
    smpl_walk,
    turn,
    world,
)  # fmt: skip
from pickles import call, listed, mapping, number, pickled, real, text

from protege.core.errors import UserError
from protege.core.motions import load_clip
from protege.core.robots import rotation as R
from protege.sim.cli import main
from protege.sim.motions.importer import clips_in, motions_in
from protege.sim.motions.readers.options import Options


def bad(contents: bytes, robot=SMPL, **options) -> str:
    """The one-line error of a file."""
    with pytest.raises(UserError) as caught:
        list(clips_in(contents, "a walk.x", "walk", Options(**options), robot))
    line = str(caught.value)
    assert line.startswith("a walk.x") and "\n" not in line and len(line) < 400 and caught.value.remedy, line
    return line


def table(pos: np.ndarray, quat: np.ndarray, joints: np.ndarray) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in np.concatenate([pos, quat, joints], axis=1)).encode()


def smpl_frames(fps: float = 30.0, frames: int = FRAMES) -> np.ndarray:
    pos, rotations = smpl_walk(frames)
    return np.concatenate([pos, rotation_vectors(rotations).reshape(frames, -1)], axis=1)


def changed(quat: np.ndarray, frame: int, body: int, value: list[float]) -> bytes:
    quat = quat.copy()
    quat[frame, body] = value
    return mapping(arr=packed(quat))


# Files that are cut, empty, or something else ------------------------------------------------------------------------------

WHOLE = {"poselib": poselib(), "amass": amass(), "phc": phc(), "csv": csv(G1), "gmr": gmr(G1), "holosoma": holosoma(G1),
         "mjlab": mjlab(G1), "motion": saved(protomotions(G1)), "library": library(protomotions(G1)), "bvh": bvh(),
         "mimickit": mimickit(smpl_frames())}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_files_that_are_cut_short_are_refused(kind, share):
    bad(WHOLE[kind][: int(len(WHOLE[kind]) * share)], G1)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "is empty. Download or copy it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "is a git-LFS pointer.* git lfs pull"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (b"walk, then run", "is text. docs/motion_files.md lists the formats"),
        (npz(a=np.zeros(3), b=np.zeros(2)), r"is not in a known motion format \(npz with a, b\)\. Known: poselib"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }", "is damaged or cut short"),
        (pickled(call("os", "system", text("true"))), "asks Python to call 'os.system'.*; nothing in it was run"),
        (npz(betas=np.zeros(3), trans=np.zeros((3, 3))), "is not in a known motion format"),
    ],
    ids=["empty", "lfs", "html", "gzip", "text", "npz", "huge npy", "os", "half an amass"],
)  # fmt: skip
def test_files_that_are_not_motions_are_named_by_kind(contents, words):
    with pytest.raises(UserError, match=words):
        list(clips_in(contents, "a walk.x", "walk", Options(), SMPL))


def test_a_wrong_format_option_is_reported():
    assert "is not in the format bvh (text of str)" in bad(csv(G1), format="bvh")


# Numbers -------------------------------------------------------------------------------------------------------------------


def test_numbers_that_are_not_finite_are_named_by_frame_and_joint():
    pos, quat, joints, _ = robot_walk(G1)
    joints[7, 3] = np.nan
    assert "the table, column 10, of frame 7 is not a finite number" in bad(table(pos, quat, joints), G1, quat="wxyz")
    quat_smpl = np.roll(world(smpl_walk()[1]), -1, axis=-1)
    line = bad(poselib(rotation=changed(quat_smpl, 5, 2, [np.nan, 0.0, 0.0, 1.0])))
    assert "rotation, L_Knee, of frame 5 is not a finite number" in line


def test_invalid_rotations_are_named_by_frame_and_joint():
    quat = np.roll(world(smpl_walk()[1]), -1, axis=-1)
    line = bad(poselib(rotation=changed(quat, 5, 2, [0.0, 0.0, 0.0, 0.3])))
    assert "rotation, L_Knee, of frame 5 is not a rotation: a quaternion of length 0.3, not 1" in line
    assert "root_rot of frame 0 is not a rotation: a quaternion of length 0, not 1" in bad(
        pickled(mapping(fps=real(30.0), root_pos=packed(np.zeros((9, 3))), root_rot=packed(np.zeros((9, 4))),
                        dof_pos=packed(np.zeros((9, 29))))), G1)  # fmt: skip


def test_quaternions_of_either_sign_and_nearly_unit_length_are_fine():
    quat = np.roll(world(smpl_walk()[1]), -1, axis=-1)
    flipped = quat * np.where(np.arange(FRAMES) % 2, -0.98, 1.02)[:, None, None]
    files = [poselib(rotation=mapping(arr=packed(q))) for q in (quat, flipped)]
    one, other = (next(iter(clips_in(file, "w", "w", Options(), SMPL)))[1] for file in files)
    np.testing.assert_allclose(other.joint_pos, one.joint_pos, atol=1e-6)


@pytest.mark.parametrize("frames", [0, 1])
def test_a_motion_has_two_frames(frames):
    assert f"has {frames} frame" in bad(mimickit(smpl_frames()[:frames]))


def test_ten_minutes_are_fine_and_an_hour_is_not():
    frames = np.tile(smpl_frames(frames=31)[:1], (600 * 2, 1))
    ((_, clip),) = clips_in(mimickit(frames), "w", "w", Options(fps=2.0 * 5), SMPL)
    assert clip.duration == pytest.approx(119.9)
    long = pickled(mapping(loop_mode=number(0), fps=real(1.0), frames=packed(frames)))
    assert "frames take" in bad(long, fps=0.3)


# Rates ---------------------------------------------------------------------------------------------------------------------


def test_a_wrong_or_missing_rate_is_requested():
    assert "does not contain its frame rate. Give its frames per second: --fps N" in bad(amass(mocap_framerate=None))
    assert "has the mocap_framerate 0.0. Give" in bad(amass(mocap_framerate=0.0))
    assert "has the mocap_framerate nan. Give" in bad(amass(mocap_framerate=float("nan")))
    line = bad(mimickit(smpl_frames()), fps=3000.0)
    assert "as a clip of smpl: " in line and "--fps N" in line and "m/s" in line


# Order, axis, unit ---------------------------------------------------------------------------------------------------------


def test_the_wrong_order_of_quaternions_is_named():
    """Of a robot that heads to its left: read in the other order, it lies down."""
    pos, _, joints, _ = robot_walk(G1)
    quat = turn("z", np.linspace(1.2, 1.5, FRAMES))
    xyzw = np.roll(quat, -1, axis=1)
    assert "as xyzw, upright in every frame. Add --quat xyzw" in bad(table(pos, xyzw, joints), G1, quat="wxyz")
    wrong = R.multiply(
        torch.from_numpy(turn("z", np.full(FRAMES, 0.2))), torch.from_numpy(turn("y", np.full(FRAMES, 0.1)))
    ).numpy()
    assert "as wxyz, upright in every frame. Add --quat wxyz" in bad(table(pos, wrong, joints), G1, quat="xyzw")
    ((motion, _),) = clips_in(table(pos, xyzw, joints), "w", "w", Options(quat="xyzw", ground="none"), G1)
    assert motion.remarks == ("the table does not say its rate: taken as 30 frames a second, --fps says otherwise",)


def test_an_ambiguous_quaternion_order_is_requested():
    """xyzw of a robot that heads along x: as wxyz it would walk backwards, which robots can."""
    line = bad(csv(G1), G1)
    assert (
        "does not say in which order its quaternions are" in line
        and "Add --quat xyzw" in line
        and "--quat wxyz" in line
    )


def test_y_up_is_named():
    pos, rotations = smpl_walk()
    back = torch.tensor([np.sqrt(0.5), -np.sqrt(0.5), 0.0, 0.0]).expand(FRAMES, 4)
    root = R.multiply(back, torch.from_numpy(rotations[:, 0])).numpy()
    frames = smpl_frames()
    frames[:, :3], frames[:, 3:6] = pos[:, [0, 2, 1]] * [1.0, 1.0, -1.0], rotation_vectors(root)
    assert "y points up in every frame, and not z. Add --up y" in bad(mimickit(frames))
    ((_, clip),) = clips_in(mimickit(frames), "w", "w", Options(up="y"), SMPL)
    assert clip.root_pos_w[0, 2] > 0.8


@pytest.mark.parametrize(("unit", "scale"), [("cm", 100.0), ("mm", 1000.0)])
def test_other_units_are_named(unit, scale):
    frames = smpl_frames()
    frames[:, :3] *= scale
    assert f"the root is {95 * scale / 100:g} m high in the median (is it in {unit}?). Add --unit {unit}" in bad(
        mimickit(frames)
    )


# Formats' own faults -------------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_go_together_are_named():
    pos, _ = smpl_walk()
    assert "root_translation has the shape (7, 3), not (61, 3)" in bad(
        poselib(root_translation=mapping(arr=packed(pos[:7])))
    )
    assert "trans has the shape (61, 2), not (any, 3)" in bad(amass(trans=pos[:, :2]))
    assert "poses has 65 numbers a frame. SMPL has 72" in bad(amass(poses=np.zeros((FRAMES, 65))))
    assert "loop_mode" in bad(mimickit(smpl_frames(), 7))
    short = protomotions(G1)
    assert "the loop_mode" not in bad(saved(short | {"rigid_body_pos": torch.zeros(3, 30, 3)}), G1)
    assert "goes on past the last frame" in bad(_library_past_its_end(), G1)
    tree = mapping(node_names=listed(text("a"), text("b")), parent_indices=packed(np.array([1, 0]), "i8"),
                   local_translation=packed(np.zeros((2, 3))))  # fmt: skip
    two = np.tile([0.0, 0.0, 0.0, 1.0], (FRAMES, 2, 1))
    assert "has a body before its parent" in bad(poselib(skeleton_tree=tree, rotation=mapping(arr=packed(two))))


def _library_past_its_end() -> bytes:
    one = protomotions(G1)
    contents = library(one)
    from protege.sim.motions.readers.torch_file import read_torch

    fields = {key: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
              for key, value in read_torch(contents, "x").items()}  # fmt: skip
    return saved(fields | {"motion_num_frames": torch.tensor([FRAMES + 1])})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Frames: 20", "Frames: 21", "has 20 frames of 12 numbers, and says 21 of 12"),
        ("Frames: 20", "Frames: many", "'Frames: many' is no Frames"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "does not contain its frame rate"),
        ("MOTION", "", "has no MOTION: it is cut short"),
        ("OFFSET 10 -45 0", "OFFSET 10 -45", "line 8: an OFFSET is three numbers, not '10 -45'"),
        ("CHANNELS 3", "CHANNELS 4", "line 9: .* are no channels"),
        ("Zrotation", "Wrotation", "line 5: .* are no channels"),
        ("JOINT Spine", "BONE Spine", "line 15: 'BONE Spine' is no BVH"),
        ("JOINT Spine", "ROOT Spine", "line 15: a joint that belongs to no other"),
        (
            "0.000000 90.000000 3.000000",
            "0.000000 nan 3.000000",
            "its frames, Hips Yposition, of frame 3 is not a finite",
        ),
        ("0.000000 90.000000 3.000000", "0.000000 90.000000", "the number of columns changed"),
        ("0.000000 90.000000 3.000000", "0.000000 x 3.000000", "could not convert string"),
    ],
)
def test_a_bvh_that_is_wrong_is_named_by_line_or_frame(old, new, words):
    contents = bvh().decode()
    assert old in contents
    line = bad(contents.replace(old, new).encode())
    assert re.search(words, line), line


@pytest.mark.filterwarnings("error")
def test_a_bvh_without_frames_is_named():
    head = bvh().decode().replace("Frames: 20", "Frames: 0").partition("Frame Time")[0]
    assert "a walk.x has no frames. Download or copy it again" in bad(f"{head}Frame Time: 0.03\n".encode())


def test_a_bvh_of_implausible_size_requests_its_unit():
    assert "its hips are 7.604e+04 high, in an unknown unit. Add --unit" in bad(bvh(scale=1000.0))


def test_a_table_that_is_ragged_is_named_by_row():
    lines = csv(G1).decode().splitlines()
    lines[5] += ",0.1"
    assert "columns changed from 36 to 37 at row 6" in bad("\n".join(lines).encode(), G1)
    lines[5] = lines[4].replace("0.", "zero.", 1)
    assert "could not convert string" in bad("\n".join(lines).encode(), G1)


def bodies_of(joints: np.ndarray, bodies: np.ndarray, **more: object) -> bytes:
    turns = np.tile([1.0, 0.0, 0.0, 0.0], (FRAMES, 30, 1))
    return npz(fps=30, joint_pos=joints, body_pos_w=bodies, body_quat_w=turns, **more)


def test_time_stamps_of_a_table_rise():
    lines = csv(G1, head=True).decode().splitlines()
    stamped = [f"time,{lines[0]}", *(f"{0.02 * i},{line}" for i, line in enumerate(lines[1:]))]
    ((motion, clip),) = clips_in("\n".join(stamped).encode(), "w", "w", Options(ground="none"), G1)
    assert motion.fps == pytest.approx(50.0) and clip.duration == pytest.approx(1.2) and not motion.remarks
    for again, frame in ((9, 9), (3, 9)):  # there twice, and out of order
        line = bad("\n".join([*stamped[:10], stamped[again], *stamped[10:]]).encode(), G1)
        assert f"time does not rise at frame {frame}" in line


def test_names_that_do_not_fit_are_named():
    _, _, joints, bodies = robot_walk(G1)
    assert "has 29 joints, but 2 joint_names" in bad(bodies_of(joints, bodies, joint_names=np.array(["a", "b"])), G1)
    names = [f"{name}x" if i == 4 else name for i, name in enumerate(G1.joint_names)]
    line = bad(bodies_of(joints, bodies, joint_names=np.array(names)), G1)
    assert "has the joints left_ankle_pitch_jointx, which g1 has not, and no columns of left_ankle_pitch_joint" in line


def test_an_npz_of_another_robot_is_detected_by_its_bodies():
    _, _, joints, bodies = robot_walk(G1)
    assert "its bodies are 0." in bad(bodies_of(joints, bodies * [1.0, 1.3, 0.7]), G1)


@settings(max_examples=400)
@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 1 << 30), st.binary(max_size=4), st.booleans())
def test_files_whose_bytes_are_changed_are_read_or_refused(kind, where, new, cut):
    """Anywhere, or within the first thousand bytes, which say what the others are."""
    contents = bytearray(WHOLE[kind])
    at = where % min(len(contents), 1000 if where % 2 else 1 << 30)
    contents[at : at + len(new) + cut] = new
    with suppress(UserError):
        motions_in(bytes(contents), "a walk.x", "walk", Options())


def test_every_line_of_the_command_is_one_line(tmp_path: Path):
    (tmp_path / "walk on.npy").write_bytes(poselib()[:2000])
    done = CliRunner().invoke(
        main, ["motions", "import", str(tmp_path / "walk on.npy"), "--output", str(tmp_path / "out")]
    )
    assert done.exit_code == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"walk on\.npy"):
        load_clip(tmp_path / "walk on.npy", SMPL)
