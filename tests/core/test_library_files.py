"""Manifests and packed libraries: reading, errors, and equality of packed and original clips."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from deepmimic_clips import document, frame
from many_clips import many, swinging
from tiny_runs import TINY, TRACKER, protege, train

from protege.core.errors import UserError
from protege.core.motions import packed, packing, save_clip
from protege.core.motions.digests import cache_folder, digests
from protege.core.motions.frames import ClipFrames
from protege.core.motions.packed import PackedLibrary, read_index
from protege.core.robots.robot import Robot
from protege.core.runs.checkpoint import load
from protege.core.runs.clip_selection import motion_digests, open_motions, pack_listed, select
from protege.core.runs.manifest import read_manifest
from protege.sim.robots import get_robot


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROTEGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "motions"


@pytest.fixture
def folder(robot: Robot, tmp_path: Path) -> Path:
    """Clips 0 to 5, the last two in a folder `fast`."""
    for i, clip in enumerate(many(robot, 6)):
        save_clip(tmp_path / "clips" / ("fast" if i > 3 else "") / clip.name, clip)
    return tmp_path / "clips"


def manifest(folder: Path, text: str) -> str:
    (folder / "m.yaml").write_text(text)
    return str(folder / "m.yaml")


def names(values: list[str], **options) -> list[str]:
    return [x.file.stem for x in select(values, **options)]


# Manifests ---------------------------------------------------------------------------------------------------------------


def test_entries_are_relative_to_the_manifest_and_the_last_one_of_a_clip_applies(folder: Path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    listed = read_manifest(Path(manifest(folder, """
clips:
- {path: "clip*.npy", tags: slow}
- {path: fast, weight: 2, tags: [fast, short]}
- {path: clip1.npy, weight: 0.5, split: test}
""")))  # fmt: skip
    assert [(x.file.name, x.weight, x.tags, x.split) for x in listed] == [
        ("clip0.npy", 1.0, ("slow",), "train"),
        ("clip1.npy", 0.5, (), "test"),
        ("clip2.npy", 1.0, ("slow",), "train"),
        ("clip3.npy", 1.0, ("slow",), "train"),
        ("clip4.npy", 2.0, ("fast", "short"), "train"),
        ("clip5.npy", 2.0, ("fast", "short"), "train"),
    ]


def test_brackets_in_the_folders_name_are_not_a_pattern(folder: Path):
    folder = folder.rename(folder.with_name("clips [v2]"))
    assert names([manifest(folder, "clips: ['clip[12].npy', fast, clip0.npy]")]) == [
        "clip1",
        "clip2",
        "clip4",
        "clip5",
        "clip0",
    ]


def test_a_motion_in_json_is_not_a_manifest(tmp_path: Path):
    """DeepMimic's files are JSON, with any name."""
    file = tmp_path / "walk.json"
    file.write_bytes(document([frame()] * 3))
    assert [clip.name for clip in open_motions([str(file)], get_robot("smpl")).clips] == ["walk"]


def test_clips_are_selected_by_split_and_tags(folder: Path):
    value = manifest(
        folder, "clips: [{path: 'clip[01].npy', split: test, tags: a}, {path: clip2.npy, tags: [a, b]}, fast]"
    )
    assert names([value]) == ["clip0", "clip1", "clip2", "clip4", "clip5"]
    assert names([value], split="test") == ["clip0", "clip1"]
    assert names([value], split="train", tags=["b", "c"]) == ["clip2"]
    assert names([value, str(folder / "clip3.npy")], split="test") == ["clip0", "clip1", "clip3"]
    assert names([value, str(folder / "clip3.npy")], tags=["a"]) == ["clip0", "clip1", "clip2"]
    with pytest.raises(UserError, match=r"no clip of .*m\.yaml has the split test and the tags c\. See"):
        select([value], "test", ["c"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", r"m\.yaml has no list of clips"),
        ("clips: []", r"m\.yaml has no list of clips"),
        ("clips: [{weight: 1}]", r"m\.yaml: clips\[0\] has no path"),
        ("clips: [fast, {path: fast, wieght: 1}]", r"clips\[1\]: unknown key wieght\. Known: path, weight"),
        ("clips: [{path: fast, weight: -1}]", r"clips\[0\]\.weight is -1\. Take a number from 0 on"),
        ("clips: [{path: fast, weight: .nan}]", r"clips\[0\]\.weight is nan"),
        ("clips: [{path: fast, weight: true}]", r"clips\[0\]\.weight is True"),
        ("clips: [{path: fast, weight: 1000000000}]", r"clips\[0\]\.weight is 1000000000"),
        ("clips: [{path: fast, tags: [1]}]", r"clips\[0\]\.tags is not a list of words"),
        ("clips: [{path: fast, split: dev}]", r"clips\[0\]\.split is 'dev'\. Take train or test"),
        ("clips: [{path: fast, sha256: abc}]", r"clips\[0\] has one sha256 for 2 files"),
        ("clips: [nowhere.npy]", r"clips\[0\]: no clip at .*nowhere\.npy"),
        ("clips: [", r"m\.yaml is not a manifest \(.*line 1"),
    ],
)  # fmt: skip
def test_errors_in_a_manifest_are_named(folder: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        read_manifest(Path(manifest(folder, text)))


@pytest.mark.parametrize("name", ["m.yaml", "sub/m.json"])
def test_a_written_manifest_is_readable_and_a_changed_clip_is_refused(folder: Path, tmp_path: Path, name: str):
    (tmp_path / "sub").mkdir()
    result = protege(
        "sim", "motions", "manifest", folder, "--output", tmp_path / name, "--test-share", 0.34, "--seed", 1
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / name}  6 clips, 2 of them for testing\n"
    listed = select([str(tmp_path / name)])
    assert [x.file.resolve() for x in listed] == [*sorted(folder.glob("*.npy")), *sorted((folder / "fast").glob("*"))]
    assert [x.tags for x in listed] == [()] * 4 + [("fast",)] * 2
    assert sum(x.split == "test" for x in listed) == 2
    clip = np.load(folder / "clip2.npy")
    clip["joint_pos"][0, 0] += 1e-9
    np.save(folder / "clip2.npy", clip)
    with pytest.raises(UserError, match=rf"clip2\.npy is not the file that {tmp_path / name} means: its sha256 is"):
        select([str(tmp_path / name)])


def test_a_linked_clip_keeps_its_name(folder: Path, tmp_path: Path):
    """Download caches link to files that are named by their digests."""
    (tmp_path / "blobs").mkdir()
    (folder / "clip0.npy").rename(tmp_path / "blobs" / "5fa8d1")
    (folder / "clip0.npy").symlink_to(tmp_path / "blobs" / "5fa8d1")
    done = protege("sim", "motions", "manifest", folder, "--output", tmp_path / "m.yaml")
    assert done.exit_code == 0, done.output
    assert sorted(names([str(tmp_path / "m.yaml")])) == [f"clip{i}" for i in range(6)]


def test_bad_outputs_and_folders_are_named(folder: Path, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for words, message in (
        (["manifest", folder, "--output", "m.txt"], "m.txt is not the name of a manifest. Call it m.yaml"),
        (["manifest", tmp_path / "empty", "--output", "m.yaml"], "empty holds no clips"),
        (["manifest", tmp_path / "none", "--output", "m.yaml"], "none is not a folder"),
        (["pack", folder, "--output", "m.npy"], "m.npy is not the name of a packed library. Call it m.library"),
    ):
        result = protege("sim", "motions", *words)
        assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1, result.output


# Packed libraries --------------------------------------------------------------------------------------------------------


def test_a_packed_clip_equals_the_original(robot: Robot, folder: Path, tmp_path: Path):
    value = manifest(folder, "clips: [{path: fast, weight: 3, tags: quick, split: test}, 'clip*.npy']")
    result = protege("sim", "motions", "pack", value, "--output", tmp_path / "l.library", "--robot", robot.name)
    assert result.exit_code == 0 and "6 clips" in result.stdout, result.output
    library = PackedLibrary(tmp_path / "l.library", read_index(tmp_path / "l.library", robot))
    clips = {clip.name: clip for clip in many(robot, 6)}
    assert library.names == ["clip4", "clip5", "clip0", "clip1", "clip2", "clip3"]
    assert library.weights.tolist() == [3, 3, 1, 1, 1, 1]
    assert [(x.tags, x.split) for x in library.entries[:3]] == [(("quick",), "test")] * 2 + [((), "train")]
    assert [x.sha256 for x in library.entries[:1]] == digests([folder / "fast" / "clip4.npy"])
    for i, name in enumerate(library.names):
        want = ClipFrames([clips[name]], robot).poses(0)
        for x, y in zip(library.poses(i), want, strict=True):
            assert np.array_equal(x, y.astype(np.float32))
        again = library.clip(i)
        assert again.joint_names == robot.joint_names and again.duration == pytest.approx(
            clips[name].duration, abs=0.04
        )
    some = open_motions([str(tmp_path / "l.library")], robot, "test")
    assert some.frames.names == ["clip4", "clip5"] and some.frames.weights.tolist() == [3, 3]
    assert np.array_equal(some.frames.poses(1).joint_pos, library.poses(1).joint_pos)
    assert [clip.name for clip in open_motions([str(tmp_path / "l.library")], robot, tags=["quick"]).clips] == []


def test_many_clips_are_packed_once_for_all_splits_and_weights(robot: Robot, folder: Path, cache: Path):
    text = "clips: [{path: 'clip*.npy', tags: gait}, {path: fast, split: test}]"
    value = manifest(folder, text)
    assert isinstance(open_motions([value], robot).frames, ClipFrames) and not list(cache.glob("*.library"))
    motions = open_motions([value], robot, "train", most=100)
    assert isinstance(motions.frames, PackedLibrary) and len(motions.frames.names) == 4
    assert [clip.name for clip in motions.clips] == ["clip0", "clip1", "clip2", "clip3"]
    (file,) = cache.glob("*.library")
    written = file.stat().st_mtime_ns
    manifest(folder, text.replace("split: test", "split: test, weight: 7"))
    other = open_motions([value], robot, "test", most=100).frames
    assert other.names == ["clip4", "clip5"] and other.weights.tolist() == [7, 7]
    assert file.stat().st_mtime_ns == written and len(list(cache.glob("*.library"))) == 1
    save_clip(folder / "clip0.npy", swinging(robot, "clip0", 1.0, 77))
    open_motions([value], robot, "train", most=100)
    assert len(list(cache.glob("*.library"))) == 2


def test_copies_of_a_clip_keep_their_own_weights_and_splits(robot: Robot, folder: Path):
    """Packed as well as loaded."""
    shutil.copy(folder / "clip0.npy", folder / "copy.npy")
    values = [manifest(folder, "clips: [{path: clip0.npy, weight: 3}, clip1.npy, {path: copy.npy, split: test}]")]
    for most in (10**6, 0):
        both = open_motions(values, robot, most=most).frames
        assert both.names == ["clip0", "clip1", "copy"] and both.weights.tolist() == [3.0, 1.0, 1.0]
        assert open_motions(values, robot, "test", most=most).frames.names == ["copy"]


def test_an_unwritable_library_is_one_error_line(folder: Path, robot: Robot, tmp_path: Path):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file" / "x.library"
    done = protege("sim", "motions", "pack", folder, "--robot", robot.name, "--output", output)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert f"cannot write {output}" in done.stderr


def test_several_processes_pack_the_same_file(robot: Robot, folder: Path, tmp_path: Path, monkeypatch):
    listed = select([str(folder), str(folder / "fast")])
    pack_listed(listed, robot, tmp_path / "one.library")
    monkeypatch.setattr(packing, "MAX_SERIAL_FILES", 0)
    monkeypatch.setattr(packing, "FILES_PER_JOB", 2)
    pack_listed(listed, robot, tmp_path / "several.library")
    assert (tmp_path / "one.library").read_bytes() == (tmp_path / "several.library").read_bytes()


def test_all_clips_that_cannot_be_packed_are_named_and_nothing_is_written(robot: Robot, folder: Path, tmp_path: Path):
    for name in ("clip1", "clip3"):
        clip = np.load(folder / f"{name}.npy")
        clip["root_pos_w"][3, 2] = 90.0
        np.save(folder / f"{name}.npy", clip)
    result = protege("sim", "motions", "pack", folder, "--output", tmp_path / "l.library", "--robot", robot.name)
    assert result.exit_code == 2 and result.stderr.count("\n") == 2
    assert "clip1.npy: root_pos_w" in result.stderr and "clip3.npy: root_pos_w" in result.stderr
    assert not (tmp_path / "l.library").exists() and not list(tmp_path.glob(".packing*"))


def test_damaged_and_foreign_libraries_are_one_error_line(robot: Robot, folder: Path, tmp_path: Path):
    path = tmp_path / "l.library"
    pack_listed(select([str(folder)]), robot, path)
    whole = path.read_bytes()
    for damage in (whole[:-30], whole[:200], b"", whole[:-4] + b"\xff" * 4, b"text", whole + b"x" * 9):
        path.write_bytes(damage)
        if damage != whole + b"x" * 9:
            with pytest.raises(UserError, match=r"cannot read .*l\.library \(.*\)\. Pack its clips again"):
                read_index(path, robot)
    path.write_bytes(whole.replace(f'"robot": "{robot.name}"'.encode(), b'"robot": "%s"' % (robot.name[::-1].encode())))
    with pytest.raises(UserError, match=f"holds clips of the robot {robot.name[::-1]}, not of {robot.name}"):
        read_index(path, robot)
    path.write_bytes(whole)
    with pytest.raises(UserError, match="a packed library is one --motion-file by itself"):
        open_motions([str(path), str(folder)], robot)
    assert json.loads(whole[whole.rindex(b'{"robot"') :])["version"] == packed.FORMAT_VERSION


def test_a_training_accepts_manifests_and_packed_libraries_and_detects_changes(
    robot: Robot, folder: Path, tmp_path: Path
):
    value = manifest(folder, "clips: ['clip*.npy', {path: fast, split: test}]")
    words = [*TINY, f"run.robot={robot.name}", "run.max_iterations=1"]
    sources = load(train(TRACKER, tmp_path, "a", *words, "--motion-file", value)).training["sources"]
    assert sorted(Path(x).name for x in sources) == [f"clip{i}.npy" for i in range(4)]
    pack_listed(select([value]), robot, tmp_path / "l.library")
    where = ["--results-dir", tmp_path, "--experiment-name", "b", "--motion-file", tmp_path / "l.library"]
    assert load(train(TRACKER, tmp_path, "b", *words, *where[4:])).training["sources"] == motion_digests(
        [str(tmp_path / "l.library")]
    )
    shutil.rmtree(folder / "fast")
    pack_listed(select([str(folder)]), robot, tmp_path / "l.library")
    result = protege("core", "train", TRACKER, *where, *words, "run.max_iterations=2")
    assert result.exit_code == 2 and "l.library has changed since" in result.stderr, result.output


def test_digests_are_computed_once_and_again_when_a_file_changes(folder: Path, monkeypatch):
    first = digests([folder / "clip0.npy"])
    assert (cache_folder() / "digests.json").is_file()
    monkeypatch.setattr("protege.core.motions.digests.sha256", lambda path: "new")
    assert digests([folder / "clip0.npy"]) == first
    shutil.copy(folder / "clip1.npy", folder / "clip0.npy")
    assert digests([folder / "clip0.npy"]) == ["new"]
