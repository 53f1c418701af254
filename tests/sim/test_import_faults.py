"""Sources that are wrong: refused or warned of before mending hides it, in bounded time, and never a file outside the folder."""

import json
import math
import zlib
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from click.testing import CliRunner, Result
from deepmimic_clips import document, frame, turned, walk

from protege.core.errors import UserError
from protege.core.motions import load_clip
from protege.sim.cli import main
from protege.sim.motions import sources
from protege.sim.motions.importer import clips_in
from protege.sim.motions.readers import document as documents
from protege.sim.motions.readers import get_reader
from protege.sim.motions.readers.deepmimic_file import check_source, read_deepmimic
from protege.sim.motions.readers.options import Options
from protege.sim.motions.sources import find_sources
from protege.sim.robots import get_robot

ROBOT = get_robot("smpl")


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def timed(seconds: float, frames: int = 30, loop: str = "none") -> bytes:
    return document([[seconds, *frame()[1:]]] * frames, loop)


def still(**changes) -> bytes:
    return document([frame(**changes)] * 30)


def xyzw(quat: list[float]) -> list[float]:
    return [*quat[1:], quat[0]]


def jumping(step: float) -> bytes:
    """Stands, and from frame 15 on elsewhere."""
    return document([frame((step * (i >= 15), 0.9, 0.0)) for i in range(30)])


# The source --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (timed(1e308, 3), r"walk lasts inf s \(are durations in seconds\?\)"),
        (timed(1e5, 3), r"walk lasts 2e\+05 s"),
        (timed(33.3), "walk, duration of frame 29: 30 frames take 965.7 s, 0.03 a second"),
        (timed(1e-6, 5, "wrap"), "walk is a cycle of 4e-06 s.*a cycle lasts 0.2 s or more"),
        (timed(1 / 30, 2, "wrap"), "walk is a cycle of 0.0333 s"),
        (jumping(3.0), "root position of frame 15: the root jumps 3 m to it, at 90.0 m/s"),
        (still(pos=(0.0, 0.0, 0.9)), "root position of frame 0: the robot is 0.88 m in the floor.* y is up"),
        (still(pos=(0.0, 90.0, 0.0)), "root position of frame 0: the root is 90 m above the floor.*centimetres"),
        (jumping(1e300), r"root position of frame 15: it is 1e\+300 m from the origin"),
        (still(root=xyzw(turned("y", 0.0))), "root rotation of frame 0: the actor lies or stands on the head; as xyzw"),
        (still(root=xyzw(turned("y", 1.5))), "root rotation of frame 0: the actor lies or stands on the head; as xyzw"),
        (document([frame(root=turned("y", math.pi * (i >= 9))) for i in range(30)]), "root rotation of frame 9: the root"),
        (document([frame(L_Knee=-60.0)] * 30), "joint rotations of frame 0: L_Knee is at -60 rad"),
    ],
    ids=["inf", "big", "ms", "tiny", "two frames", "teleport", "z up", "cm", "huge", "xyzw", "xyzw turned", "spun around",
         "degrees"],
)  # fmt: skip
def test_impossible_motions_are_rejected_with_frame_and_field(contents, message):
    source = read_deepmimic(contents, "walk")
    with pytest.raises(UserError, match=message) as caught:
        check_source(source, "walk")
    assert "\n" not in str(caught.value) and caught.value.remedy


def test_a_joint_that_snaps_is_warned_of_though_the_clip_is_smoothed():
    contents = document([frame(L_Hip=turned("z", 3.0 * (i >= 9))) for i in range(30)])
    found = check_source(read_deepmimic(contents, "walk"), "walk")
    assert [(x.severity, x.frame) for x in found if "L_Hip turns at 90 rad/s" in x.problem] == [("warning", 9)]


def test_a_source_that_floats_is_warned_of_though_the_clip_is_put_on_the_ground():
    ((_, clip),) = clips_in(still(pos=(0.0, 1.9, 0.0)), "float.txt", "float", Options(), ROBOT)
    (warning,) = clip.warnings
    assert warning.severity == "warning" and "in the source, the robot hangs in the air for 0.97 s" in warning.problem


@pytest.mark.parametrize(
    ("loop", "cycles"), [("wrap", True), (True, True), ("none", False), (False, False), (None, False), ("clamp", False)]
)
def test_a_loop_is_a_word_or_true(loop, cycles):
    contents = json.dumps({"Loop": loop, "Frames": [frame()] * 3}).encode()
    assert read_deepmimic(contents, "walk").wraps is cycles


@pytest.mark.parametrize("loop", ["wrapp", "Wrap", 1.5, ["wrap"], {"a": 1}])
def test_an_unknown_word_for_a_loop_is_rejected(loop):
    with pytest.raises(UserError, match=r'walk has a Loop that is .*It is "wrap" \(a cycle\) or "none"'):
        read_deepmimic(json.dumps({"Loop": loop, "Frames": [frame()] * 3}).encode(), "walk")


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"[" * 100_000, "is not a DeepMimic clip"),
        (json.dumps({"Frames": [[10**400] * 44] * 3}).encode(), "is not a DeepMimic clip"),
        (b'{"Frames": null}', r"frames of shape \(\)"),
        (b'{"Frames": {"a": 1}}', "is not a DeepMimic clip"),
        (b'{"Loop": "none", "Frames": [[1, 2],]}', "is not a DeepMimic clip"),
        (json.dumps({"Frames": [frame(), [None] * 44]}).encode(), "not finite, number 0 of frame 1"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is not a DeepMimic clip .a git-LFS pointer"),
        (b"<!DOCTYPE html><html>", "is not a DeepMimic clip .a web page"),
        (b"\x1f\x8b\x08\x00", "is not a DeepMimic clip .compressed with gzip"),
    ],
    ids=["deep", "big integer", "null", "dict", "comma", "null number", "lfs", "html", "gzip"],
)
def test_contents_of_any_kind_are_one_line(contents, message):
    with pytest.raises(UserError, match=message) as caught:
        read_deepmimic(contents, "walk")
    assert "\n" not in str(caught.value)


def test_other_line_ends_and_encodings_of_json_are_the_same_clip():
    plain = json.dumps(json.loads(walk(5)), indent=1)
    for contents in (plain.replace("\n", "\r\n").encode(), plain.encode("utf-8-sig"), plain.encode("utf-16")):
        np.testing.assert_array_equal(read_deepmimic(contents, "w").frames, read_deepmimic(walk(5), "w").frames)


def test_clips_that_stand_or_walk_have_nothing_to_warn_of():
    for contents in (still(), still(root=[-1.0, 0.0, 0.0, 0.0]), walk(61, speed=0.2)):
        assert check_source(read_deepmimic(contents, "walk"), "walk") == []


def test_an_imported_clip_names_its_robot_and_source(tmp_path):
    (tmp_path / "humanoid3d_stand.txt").write_bytes(still())
    assert (
        call("motions", "import", "deepmimic", tmp_path / "humanoid3d_stand.txt", "--output", tmp_path).exit_code == 0
    )
    clip = load_clip(tmp_path / "smpl_humanoid_stand.npy", ROBOT)
    assert (clip.robot, clip.joint_names, clip.fps) == ("smpl", ROBOT.joint_names, 60.0)
    assert clip.source.startswith("DeepMimic")


# Archives and names ------------------------------------------------------------------------------------------------------


def archive(path: Path, **members: bytes) -> Path:
    with ZipFile(path, "w") as opened:
        for name, contents in members.items():
            opened.writestr(name, contents)
    return path


def read(*paths: Path) -> dict[str, bytes]:
    """Contents by name, of DeepMimic's files alone."""
    return {found.name: found.read() for found in find_sources(paths, (), get_reader("deepmimic"))}


def test_archives_of_windows_and_macos_are_read(tmp_path):
    win = archive(tmp_path / "win.zip", **{"motions\\humanoid3d_stand.txt": b"a"})
    mac = {"motions/humanoid3d_stand.txt": b"a", "__MACOSX/motions/humanoid3d_stand.txt": b"b"}
    assert read(win) == read(archive(tmp_path / "mac.ZIP", **mac)) == {"stand": b"a"}


@pytest.mark.parametrize(
    ("member", "name"),
    [
        ("humanoid3d_a b.txt", "smpl_humanoid_a_b"),
        ("humanoid3d_-rf.txt", "smpl_humanoid_rf"),
        ("humanoid3d_\u00e9t\u00e9.txt", "smpl_humanoid_ete"),
        ("humanoid3d_....txt", f"smpl_humanoid_motion_{zlib.crc32(b'...'):08x}"),
    ],
)
def test_names_in_archives_become_names_of_clips(member, name, tmp_path):
    source = archive(tmp_path / "odd.zip", **{member: still()})
    assert call("motions", "import", "deepmimic", source, "--output", tmp_path / "out").exit_code == 0
    (clip,) = (tmp_path / "out").iterdir()
    assert clip.stem == name


def test_a_members_folder_goes_nowhere(tmp_path):
    slip = archive(tmp_path / "slip.zip", **{"../../humanoid3d_evil.txt": still()})
    out = tmp_path / "deep" / "er" / "out"
    assert call("motions", "import", "deepmimic", slip, "--output", out).exit_code == 0
    assert [x.relative_to(tmp_path) for x in tmp_path.rglob("*.npy")] == [Path("deep/er/out/smpl_humanoid_evil.npy")]


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/b", ".hidden", "", "a\\b"])
def test_a_name_cannot_leave_the_folder(name, tmp_path):
    (tmp_path / "humanoid3d_stand.txt").write_bytes(still())
    words = ["motions", "import", "deepmimic", tmp_path / "humanoid3d_stand.txt", "--output", tmp_path / "out" / "in"]
    result = call(*words, "--name", name)
    assert result.exit_code == 2 and result.stderr.startswith("error: --name is '") and result.stderr.count("\n") == 1
    assert list(tmp_path.rglob("*.npy")) == []


def test_files_that_would_fill_the_memory_are_rejected(tmp_path, monkeypatch):
    bomb = archive(tmp_path / "bomb.zip", **{"humanoid3d_a.txt": b" " * 2000})
    monkeypatch.setattr(sources, "MAX_BYTES", 1999)
    with pytest.raises(UserError, match=r"humanoid3d_a\.txt in .*bomb\.zip is larger than"):
        read(bomb)
    (tmp_path / "humanoid3d_large.txt").write_bytes(b" " * 2000)
    with pytest.raises(UserError, match=r"large\.txt is larger than"):
        read(tmp_path / "humanoid3d_large.txt")
    monkeypatch.setattr(documents, "MAX_BYTES", 1999)
    with pytest.raises(UserError, match=r"packed\.pkl unpacks to more than"):
        documents.open_document(zlib.compress(b" " * 2000), "packed.pkl", "packed")


@pytest.mark.parametrize("name", ["clip.txt", "clip.zip"])
def test_a_device_without_end_is_not_read(name, tmp_path):
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"clip\.... is not a file"):
        read(tmp_path / name)


def test_a_damaged_member_is_named(tmp_path):
    path = archive(tmp_path / "bad.zip", **{"humanoid3d_a.txt": b"0123456789" * 10})
    contents = bytearray(path.read_bytes())
    contents[60] ^= 255  # of the member's data: its checksum is wrong
    path.write_bytes(contents)
    with pytest.raises(UserError, match=r"cannot read .*bad\.zip \(not a whole archive: Bad CRC-32"):
        read(path)
