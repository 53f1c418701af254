"""Metadata of clip files, recognition of other files, and the files that a value of --motion-file refers to."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from protege.core.cli.umbrella import main as umbrella
from protege.core.errors import UserError
from protege.core.motions import Clip, clip_files, load_clip, load_clips, save_clip
from protege.core.motions.clip_file import read_clip
from protege.core.motions.clip_paths import ClipError
from protege.core.motions.file_kinds import file_kind
from protege.sim.robots import get_robot

SMPL = get_robot("smpl")
WALK = "smpl_humanoid_walk.npy"


@pytest.fixture(scope="module")
def walk() -> Clip:
    clip = load_clip(WALK, SMPL)
    return Clip("walk", *(x[:61] for x in (clip.time, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)))


# Facts -------------------------------------------------------------------------------------------------------------------


def test_facts_are_restored_and_numpy_reads_only_the_frames(walk, tmp_path):
    facts = {
        "joint_names": SMPL.joint_names,
        "robot": "smpl",
        "fps": 60.0,
        "source": "CMU 01_01, été",
        "licence": "CC0",
    }
    file = save_clip(tmp_path / "walk.npy", replace(walk, **facts))
    loaded = load_clip(file, SMPL)
    assert {key: getattr(loaded, key) for key in facts} == facts and loaded.warnings == ()
    table = np.load(file, allow_pickle=False)
    assert table.shape == (61,) and table.dtype.names == ("time", "root_pos_w", "root_quat_w", "joint_pos")
    with file.open("rb") as opened:  # the second array in the file is JSON
        np.load(opened)
        assert json.loads(np.load(opened).tobytes()) == {**facts, "joint_names": list(SMPL.joint_names)}


def test_a_clip_without_facts_contains_only_the_frames(walk, tmp_path):
    plain, file = io.BytesIO(), save_clip(tmp_path / "walk.npy", walk)
    np.save(plain, np.load(file))
    assert file.read_bytes() == plain.getvalue()
    loaded = load_clip(file, SMPL)
    assert (loaded.joint_names, loaded.robot, loaded.fps, loaded.source, loaded.licence) == ((), "", None, "", "")


def test_with_a_robot_its_name_and_its_joints_are_written(walk, tmp_path):
    loaded = load_clip(save_clip(tmp_path / "walk.npy", walk, SMPL), SMPL)
    assert loaded.robot == "smpl" and loaded.joint_names == SMPL.joint_names


def test_joints_are_reordered_by_name(walk, tmp_path):
    order = np.random.default_rng(3).permutation(69)
    names = tuple(SMPL.joint_names[i] for i in order)
    shuffled = replace(walk, joint_pos=walk.joint_pos[:, order], joint_names=names)
    loaded = load_clip(save_clip(tmp_path / "walk.npy", shuffled), SMPL)
    assert loaded.joint_names == SMPL.joint_names
    np.testing.assert_array_equal(loaded.joint_pos, walk.joint_pos)
    np.testing.assert_array_equal(load_clip(save_clip(tmp_path / "b", shuffled, SMPL), SMPL).joint_pos, walk.joint_pos)


def test_other_robots_and_joints_are_refused_by_name(walk, tmp_path):
    cases = [
        ({"robot": "g1"}, "is a clip of the robot g1, not of smpl", "Retarget it to smpl"),
        (
            {"joint_names": ("a", "b", *SMPL.joint_names[2:])},
            "has the joints a, b, which smpl does not have, and lacks L_Hip_x",
            "",
        ),
        ({"joint_names": SMPL.joint_names[:68]}, "has 69 joints but 68 joint_names", "Name each column once"),
    ]
    for facts, problem, remedy in cases:
        clip = replace(walk, **facts)
        with pytest.raises(UserError) as caught:
            load_clip(save_clip(tmp_path / "walk.npy", clip), SMPL)
        assert problem in caught.value.problem and remedy in caught.value.remedy
        with pytest.raises(UserError, match=r"new\.npy"):
            save_clip(tmp_path / "new.npy", clip, SMPL)


@pytest.mark.parametrize(
    ("facts", "culprit"),
    [
        ({"fps": 0}, "fps is not a positive number"),
        ({"fps": True}, "fps is not a positive number"),
        ({"joint_names": "L_Hip_x"}, "joint_names is not a list of names"),
        ({"joint_names": ["L_Hip_x"] * 69}, "joint_names holds a name twice"),
        ({"robot": 1}, "robot is not a string"),
        (["smpl"], "it is not a JSON object"),
    ],
)
def test_facts_of_a_wrong_type_are_named(walk, tmp_path, facts, culprit):
    file = save_clip(tmp_path / "walk.npy", walk)
    with file.open("ab") as opened:
        np.save(opened, np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8))
    with pytest.raises(UserError, match=rf"walk\.npy: what follows its frames is damaged \({culprit}\)"):
        load_clip(file, SMPL)


# Saving ------------------------------------------------------------------------------------------------------------------


def test_a_clip_that_could_not_be_loaded_is_not_saved(walk, tmp_path):
    hole = walk.joint_pos.copy()
    hole[12, 3] = np.nan
    cases = {
        "joint_pos of frame 12 is not a finite number": replace(walk, joint_pos=hole),
        "time does not rise at frame 1": replace(walk, time=walk.time[::-1]),
        "root_quat_w of frame 0 is not of unit length": replace(walk, root_quat_w=2.0 * walk.root_quat_w),
        r"root_pos_w has the shape \(60, 3\), not \(61, 3\)": replace(walk, root_pos_w=walk.root_pos_w[1:]),
        r"joint_pos has the shape \(61, 23, 3\), not \(61, J\)": replace(
            walk, joint_pos=walk.joint_pos.reshape(61, 23, 3)
        ),
        "has 1 frame": Clip("one", walk.time[:1], walk.root_pos_w[:1], walk.root_quat_w[:1], walk.joint_pos[:1]),
    }
    for problem, clip in cases.items():
        with pytest.raises(UserError, match=problem):
            save_clip(tmp_path / "walk.npy", clip)
    assert not os.listdir(tmp_path)


def test_a_saved_clip_is_listed(walk, tmp_path):
    assert save_clip(tmp_path / "walk", walk) == tmp_path / "walk.npy"
    for name in ("walk.npz", "walk.v2", "walk.NPY"):
        with pytest.raises(UserError, match=rf"{name} is not the name of a clip\. Clips are \.npy files: walk\.npy"):
            save_clip(tmp_path / name, walk)
    assert os.listdir(tmp_path) == ["walk.npy"]


# Kinds of files ----------------------------------------------------------------------------------------------------------


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def packed(kind: str) -> bytes:
    """An archive of a clip, or a file of torch."""
    file, member = io.BytesIO(), npy(np.zeros(3))
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("walk.npy", member)
    elif kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("walk.npy"), io.BytesIO(member))
    elif kind == "npz":
        np.savez(file, dof_pos=np.zeros(3))
    else:
        torch.save({"fps": 30}, file)
    return file.getvalue()


PICKLED = b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00}\x94\x8c\x03fps\x94K\x1es."
"""{"fps": 30} as a pickle, which must never be read."""
FILES = {
    "lfs.npy": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 12\n", "a git-LFS pointer", "git lfs pull"),
    "a.zip": (packed("zip"), "a zip archive", "Unpack it"),
    "a.npz": (packed("npz"), "a .npz archive of several arrays", "docs/clips.md"),
    "gzip.npy": (gzip.compress(npy(np.zeros(3))), "compressed with gzip", "gunzip"),
    "a.tar": (packed("tar"), "a tar archive", "tar xf"),
    "404.npy": (b"\n<!DOCTYPE html><html></html>", "a web page: a download that failed", "Download"),
    "g1.csv": (b"0.0,0.1,0.79,1.0,0.0\n" * 3, "a table of text (CSV)", "docs/clips.md"),
    "a.bvh": (b"HIERARCHY\nROOT Hips\n", "a BVH motion", "docs/clips.md"),
    "a.pkl": (PICKLED, "a Python pickle", "docs/clips.md"),
    "a.motion": (packed("torch"), "a file of torch.save", "docs/clips.md"),
    "humanoid3d_walk.txt": (b'{"Loop": "wrap", "Frames": []}', "JSON text", "protege sim motions import"),
    "notes.txt": (b"walk, then run\n", "text", "docs/clips.md"),
    "empty.npy": (b"", "empty", "Download"),
    "cut.npy": (npy(np.zeros(300))[:-8], "a .npy file that is damaged or cut short", "Download"),
    "objects.npy": (npy(np.array({"a": 1})), "a .npy file of pickled Python objects", "docs/clips.md"),
    "random.npy": (bytes(range(128, 256)), "of an unknown format", "docs/clips.md"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_other_files_are_recognised_by_their_kind(name, tmp_path):
    """Where other formats cannot be read, as in deploy. `load_clip` asks packages that can read them first."""
    contents, words, remedy = FILES[name]
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ClipError) as caught:
        read_clip(tmp_path / name, SMPL.name, SMPL.joint_names)
    assert caught.value.problem.startswith(f"{tmp_path / name} is {words}") and remedy in caught.value.remedy
    assert file_kind(contents, name).words.startswith(words)


def test_a_poselib_motion_is_recognised(tmp_path):
    """A file of ProtoMotions 1: a pickled dict that contains `rotation`."""
    from collections import OrderedDict

    motion = OrderedDict(rotation=OrderedDict(arr=np.zeros((2, 24, 4))), skeleton_tree=OrderedDict(), fps=30)
    np.save(tmp_path / WALK, np.array(motion, dtype=object))
    with pytest.raises(ClipError, match="is a pickled poselib SkeletonMotion"):
        read_clip(tmp_path / WALK, SMPL.name, SMPL.joint_names)


# Finding files -----------------------------------------------------------------------------------------------------------


def test_a_value_is_a_file_a_folder_a_pattern_or_a_shipped_name(walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine/b.npy", "mine/a.npy", "mine/deep/c.npy", "with [x].npy"):
        save_clip(name, walk)
    Path("mine/NOTICE").write_text("not a clip")
    assert clip_files(["mine"]) == [Path("mine/a.npy"), Path("mine/b.npy")]
    assert clip_files(["mine/*.npy"]) == [Path("mine/a.npy"), Path("mine/b.npy")]
    assert clip_files(["mine/**/*.npy"]) == [Path("mine/a.npy"), Path("mine/b.npy"), Path("mine/deep/c.npy")]
    assert clip_files(["with [x].npy"]) == [Path("with [x].npy")]
    assert clip_files(["mine/b.npy", "mine/a.npy"]) == [Path("mine/b.npy"), Path("mine/a.npy")]
    assert [file.parent.name for file in clip_files([WALK, f"data/motions/{WALK}"])] == ["data", "data"]
    assert [clip.name for clip in load_clips(["mine", WALK], SMPL)] == ["a", "b", "smpl_humanoid_walk"]


def test_a_local_file_takes_precedence_over_a_shipped_one(walk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_clip(f"data/motions/{WALK}", walk)
    for name in (WALK, f"data/motions/{WALK}"):
        assert clip_files([name]) == [Path("data/motions", WALK)] and load_clip(name, SMPL).duration < 1.1
    save_clip(WALK, walk)
    assert clip_files([WALK]) == [Path(WALK)]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("", "--motion-file is empty"),
        (" ", "--motion-file is empty"),
        ("nothing", "the folder nothing holds no .npy file"),
        ("nothing/*.npy", "no file matches nothing/*.npy"),
        ("nowhere.npy", "no clip at nowhere.npy"),
    ],
)
def test_a_value_without_a_match_is_one_error_line(value, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("nothing").mkdir()
    words = ["core", "train", "full_body_tracker/laptop", "--experiment-name", "a", "--motion-file", value]
    done = CliRunner().invoke(umbrella, words)
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert done.output.startswith(f"error: {problem}. Give a .npy file, a folder of them, a pattern")


def test_warnings_are_printed_once_per_command(walk, tmp_path):
    """A floating clip, given twice. The command ends at once, because the simulator does not exist."""
    up, pos = str(tmp_path / "up.npy"), walk.root_pos_w.copy()
    pos[:, 2] += 0.3
    save_clip(up, replace(walk, root_pos_w=pos))
    words = ["core", "train", "full_body_tracker/laptop", "--experiment-name", "a", "--results-dir", str(tmp_path)]
    done = CliRunner().invoke(umbrella, [*words, "--motion-file", up, "--motion-file", up, "--simulator", "banana"])
    lines = done.stderr.splitlines()
    assert done.exit_code == 2 and len(lines) == 2
    assert (
        lines[0].startswith("warning: up: root_pos_w of frame 0: the robot hangs in the air") and "banana" in lines[1]
    )
