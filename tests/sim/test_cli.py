"""`protege-sim`, command by command, and its one-line messages about invalid input."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from functools import cache
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from deepmimic_clips import document, frame, walk

from protege.core.motions import load_clip
from protege.sim import __version__, bench
from protege.sim.bench import torch_threads
from protege.sim.cli import main
from protege.sim.robots import get_robot

WALK, RUN, JUMP = (f"smpl_humanoid_{name}.npy" for name in ("walk", "run", "jump"))


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def succeeds(*words: object) -> str:
    result = call(*words)
    assert result.exit_code == 0, result.output
    return result.stdout


def fails(*words: object) -> str:
    """Exit code 2, nothing on stdout, one line on stderr, which is returned."""
    result = call(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == "" and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "humanoid3d_walk.txt"
    path.write_bytes(walk())
    return path


# Help --------------------------------------------------------------------------------------------------------------------


def test_help_is_quick_and_needs_nothing_heavy():
    program = """
import sys
from protege.sim.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"torch", "mujoco", "numpy", "imageio"} & set(sys.modules)))
"""
    for words in (["--help"], ["motions", "--help"], ["motions", "play", "--help"], ["bench", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]"


def test_every_command_is_listed_with_its_meaning():
    text = succeeds("--help")
    assert all(f"  {name} " in text for name in ("bench", "motions", "robots"))
    text = succeeds("motions", "--help")
    assert all(f"  {name} " in text for name in ("attempt", "export", "import", "inspect", "list", "play"))
    assert succeeds("--version") == f"protege-sim, version {version('protege-sim')}\n"
    assert __version__ == version("protege-sim")


# Motions -----------------------------------------------------------------------------------------------------------------


def test_a_clip_is_imported_under_the_robots_name(source, tmp_path):
    out = tmp_path / "clips"
    assert succeeds("motions", "import", "deepmimic", source, "--output", out).startswith(f"{out / WALK}  1")
    clip = load_clip(out / WALK, get_robot("smpl"))
    assert clip.is_cyclic
    succeeds("motions", "import", "deepmimic", source, "--output", out, "--name", "stroll")
    assert (out / "smpl_humanoid_stroll.npy").read_bytes() == (out / WALK).read_bytes()


def test_clips_go_to_data_motions_by_default(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeeds("motions", "import", "deepmimic", source.name)
    assert (tmp_path / "data" / "motions" / WALK).is_file()
    # There they are listed, and found before the clip of that name that is shipped.
    rows = json.loads(succeeds("motions", "list", "--json"))
    assert [row["where"] for row in rows if row["name"] == WALK] == ["data/motions, instead of the shipped one"]
    assert json.loads(succeeds("motions", "inspect", f"data/motions/{WALK}", "--json"))["frames"] > 600


def test_clips_of_a_wheel_are_chosen_by_name(tmp_path):
    with ZipFile(tmp_path / "data.whl", "w") as wheel:
        for name in ("walk", "stand"):
            wheel.writestr(f"data/motions/humanoid3d_{name}.txt", document([frame()] * 3))
    succeeds("motions", "import", "deepmimic", tmp_path / "data.whl", "--output", tmp_path / "one", "--name", "stand")
    assert os.listdir(tmp_path / "one") == ["smpl_humanoid_stand.npy"]
    succeeds("motions", "import", "deepmimic", tmp_path / "data.whl", "--output", tmp_path / "all")
    assert sorted(os.listdir(tmp_path / "all")) == ["smpl_humanoid_stand.npy", WALK]


def test_importing_twice_gives_the_same_bytes(source, tmp_path):
    for name in ("a", "b"):
        succeeds("motions", "import", "deepmimic", source, "--output", tmp_path / name)
    assert (tmp_path / "a" / WALK).read_bytes() == (tmp_path / "b" / WALK).read_bytes()


def test_a_bad_source_writes_nothing(source, tmp_path):
    bad = tmp_path / "humanoid3d_bad.txt"
    contents = {
        "is not a DeepMimic clip": walk()[:500],
        "holds a number that is not finite": document([frame(), frame(L_Knee=float("nan"))]),
        "has frames of shape (2, 3)": json.dumps({"Frames": [[1, 2, 3]] * 2}).encode(),
    }
    for message, data in contents.items():
        bad.write_bytes(data)
        line = fails("motions", "import", "deepmimic", source, bad, "--output", tmp_path / "clips")
        assert "humanoid3d_bad.txt" in line and message in line
        assert not (tmp_path / "clips").exists()


def test_bad_import_arguments_are_named(source, tmp_path):
    importing = ["motions", "import"]
    assert "no motion format 'fbx'. Known: " in fails(*importing, "fbx", source)
    assert f"cannot read {tmp_path / 'no.txt'}" in fails(*importing, "deepmimic", tmp_path / "no.txt")
    assert "no robot 'smlp'. Did you mean 'smpl'?" in fails(*importing, "deepmimic", source, "--robot", "smlp")
    in_the_way = ["--output", source / "clips"]
    assert f"cannot write {source / 'clips' / WALK}" in fails(*importing, "deepmimic", source, *in_the_way)


def test_list_shows_the_shipped_clips():
    lines = succeeds("motions", "list", "--folder", "nowhere", "--robot", "smpl").splitlines()
    assert lines[0].split() == ["clip", "robot", "seconds", "frames", "m/s", "cyclic", "where"]
    assert [line.split()[0] for line in lines[1:]] == [JUMP, RUN, WALK]
    assert lines[3].split() == [WALK, "smpl", "10.13", "609", "0.92", "yes", "shipped"]
    every = [line.split()[:2] for line in succeeds("motions", "list", "--folder", "nowhere").splitlines()[1:]]
    of_g1 = [[name.replace("smpl", "g1"), "g1"] for name in (JUMP, RUN, WALK)]
    own = [
        line.split()[:2] for line in succeeds("motions", "list", "--folder", "nowhere", "--robot", "g1").splitlines()
    ]
    assert own[1:] == of_g1
    assert every == [*of_g1, *([name, "smpl"] for name in (JUMP, RUN, WALK))]


def test_list_names_files_that_are_not_clips(tmp_path):
    (tmp_path / "broken.npy").write_bytes(b"no clip")
    text = succeeds("motions", "list", "--folder", tmp_path)
    assert WALK in text
    assert text.splitlines()[-1].startswith(f"broken.npy: {tmp_path / 'broken.npy'} is text")


def test_inspect_prints_its_measures():
    text = succeeds("motions", "inspect", WALK)
    for words in ("foot sliding", "floor penetration", "joint limits", "velocity jumps", "0.92 m/s"):
        assert words in text
    report = json.loads(succeeds("motions", "inspect", WALK, "--json"))
    assert report["frames"] == 609 and report["cyclic"] and report["limits"]["violations"] == 0
    assert set(report["slide"]) == {"mean", "max", "contact", "time"}
    assert 0.0 <= report["penetration"]["max"] < 1e-6


def test_a_local_clip_replaces_a_shipped_one_in_list_and_inspect(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    succeeds("motions", "import", "deepmimic", source.name)
    rows = {row["name"]: row for row in json.loads(succeeds("motions", "list", "--robot", "smpl", "--json"))}
    assert list(rows) == [JUMP, RUN, WALK]
    assert rows[WALK]["where"] == "data/motions, instead of the shipped one"
    for row in rows.values():
        assert json.loads(succeeds("motions", "inspect", row["path"], "--json"))["duration"] == row["duration"]
    assert json.loads(succeeds("motions", "inspect", WALK, "--json"))["duration"] == rows[WALK]["duration"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "data/motions" / WALK).rename(tmp_path / "mine" / WALK)
    words = ("motions", "list", "--robot", "smpl", "--folder", "mine", "--json")
    rows = [(r["name"], r["where"]) for r in json.loads(succeeds(*words))]
    assert rows == [(JUMP, "shipped"), (RUN, "shipped"), (WALK, "mine"), (WALK, "shipped")]


def shipped_walk(path: Path, **changes: float) -> Path:
    """The shipped walk, with some fields shifted, as a file."""
    data = np.load(Path(__file__).parents[2] / "packages/sim/src/protege/sim/motions/data" / WALK)
    for field, shift in changes.items():
        data[field][..., -1] += shift
    np.save(path, data)
    return path


def test_inspect_ends_in_a_verdict(tmp_path):
    text = succeeds("motions", "inspect", WALK)
    assert text.splitlines()[-1] == "verdict: fine"
    assert "rate               60 frames a second, no gaps\n" in text
    assert "travel             ahead (cosine to its facing 0.9" in text
    facts = json.loads(succeeds("motions", "inspect", WALK, "--json"))
    assert facts["verdict"] == "fine" and facts["findings"] == [] and facts["fps"] == pytest.approx(60.0, rel=1e-3)
    assert -0.001 < facts["lowest"] <= facts["median"] <= facts["highest"] < 0.05
    floats = shipped_walk(tmp_path / "floats.npy", root_pos_w=0.1)
    report = json.loads(succeeds("motions", "inspect", floats, "--json"))
    assert report["verdict"] == "warnings" and report["lowest"] == pytest.approx(facts["lowest"] + 0.1)
    (finding,) = [x for x in report["findings"] if x["field"] == "root_pos_w"]
    assert "hangs in the air" in finding["problem"] and finding["remedy"]


def test_inspect_explains_a_clip_that_loading_rejects(tmp_path):
    high = shipped_walk(tmp_path / "high.npy", root_pos_w=100.0)
    result = call("motions", "inspect", high)
    assert result.exit_code == 2
    assert result.stdout.splitlines()[0].startswith("high: 10.13 s, 609 frames")
    assert "verdict: 1 error\n  error: root_pos_w of frame" in result.stdout
    assert result.stderr.startswith(f"error: {high}: root_pos_w of frame") and result.stderr.count("\n") == 1
    assert json.loads(call("motions", "inspect", high, "--json").stdout)["verdict"] == "errors"
    assert "high.npy: root_pos_w of frame" in fails("motions", "attempt", high)
    assert f"high.npy: {high}: root_pos_w of frame" in succeeds("motions", "list", "--folder", tmp_path)


def test_written_clips_are_listed(source, tmp_path):
    """Also without the suffix."""
    succeeds("motions", "import", "deepmimic", source, "--output", tmp_path, "--name", "v1.0")
    succeeds("motions", "attempt", WALK, "--seconds", 0.1, "--samples", 2, "--output", tmp_path / "done")
    listed = json.loads(succeeds("motions", "list", "--folder", tmp_path, "--json"))
    assert {"smpl_humanoid_v1.0.npy", "done.npy"} <= {row["name"] for row in listed}


def test_a_clip_is_attempted(tmp_path):
    words = ["motions", "attempt", WALK, "--seconds", 0.1, "--samples", 4, "--output", tmp_path / "done.npy"]
    assert succeeds(*words).startswith("smpl_humanoid_walk: followed for 0.10 s, ")
    report = json.loads(succeeds(*words, "--json"))
    assert len(report["distance"]) == 3 and not report["lost"] and report["clip"] == "smpl_humanoid_walk"
    assert len(load_clip(tmp_path / "done.npy", get_robot("smpl")).time) == 4


@pytest.mark.parametrize(
    "command", [["inspect"], ["attempt"], ["play", "--output", "film.mp4"]], ids=["inspect", "attempt", "play"]
)
def test_bad_clips_are_named(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clip = np.load(Path(__file__).parents[2] / "packages/sim/src/protege/sim/motions/data" / WALK)
    np.save("nan.npy", clip)
    clip["joint_pos"][12, 3] = np.nan
    np.save("nan.npy", clip)
    Path("cut.npy").write_bytes(Path("nan.npy").read_bytes()[:-1000])
    messages = {"nowhere.npy": "no clip at nowhere.npy", "cut.npy": "cut.npy is a .npy file that is damaged or cut short",
                "nan.npy": "nan.npy: joint_pos of frame 12 is not a finite number"}  # fmt: skip
    for path, message in messages.items():
        assert message in fails("motions", command[0], path, *command[1:])
    assert not Path("film.mp4").exists()


def test_a_clip_is_played_as_a_film(gl, tmp_path):
    film = tmp_path / "new" / "walk.mp4"
    words = ["--fps", 10, "--size", "160x120", "--seconds", 0.9]
    assert succeeds("motions", "play", WALK, "--output", film, *words) == f"{film}\n"
    frames = iio.imread(film)
    assert frames.shape == (10, 120, 160, 3)
    assert np.abs(frames[0].astype(int) - frames[5]).max() > 50  # something moves


def test_a_clip_is_played_as_a_strip(gl, tmp_path):
    strip = tmp_path / "run.png"
    succeeds("motions", "play", RUN, "--output", strip, "--size", "80x60", "--seconds", 0.45)
    assert iio.imread(strip).shape == (2 * 60, 4 * 80, 3)  # five pictures at 10 a second
    succeeds("motions", "play", RUN, "--output", strip, "--size", "80x60", "--seconds", 0)
    assert iio.imread(strip).shape == (60, 80, 3)


def test_a_clip_is_played_as_single_pictures(gl, tmp_path):
    words = ["--fps", 5, "--size", "80x60", "--start", 1, "--seconds", 0.5]
    assert succeeds("motions", "play", JUMP, "--output", tmp_path / "p", *words) == f"{tmp_path / 'p'}: 3 pictures\n"
    assert sorted(os.listdir(tmp_path / "p")) == [f"smpl_humanoid_jump_0000{i}.png" for i in range(3)]


def test_bad_play_arguments_are_named(tmp_path):
    def line(*words: object, output: object = tmp_path / "film.mp4") -> str:
        return fails("motions", "play", WALK, "--output", output, *words)

    assert "--size 5 is not WIDTHxHEIGHT" in line("--size", "5")
    assert "a picture of 161 x 120 cannot be drawn" in line("--size", "161x120")
    assert "film.gif is neither a film nor pictures" in line(output="film.gif")
    assert "is over after 10.13 s" in line("--start", 20)
    (tmp_path / "file").touch()
    assert "cannot write" in line(output=tmp_path / "file" / "film.mp4")
    assert "cannot write" in line(output=tmp_path / "file" / "pictures")
    assert os.listdir(tmp_path) == ["file"]


def test_missing_opengl_is_reported_in_one_line(tmp_path):
    words = ["-m", "protege.sim.cli", "motions", "play", WALK, "--output", str(tmp_path / "film.mp4")]
    environment = {**os.environ, "MUJOCO_GL": "disable"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: MUJOCO_GL=disable leaves nothing to draw with. Set MUJOCO_GL=egl")
    assert list(tmp_path.iterdir()) == []


# Robots and speed --------------------------------------------------------------------------------------------------------


def test_robots_are_listed():
    head, *rows = succeeds("robots").splitlines()
    assert head.split("  ")[0] == "robot"
    assert [row.split() for row in rows] == [
        ["g1", "30", "29", "33.3", "50", "200"],
        ["smpl", "24", "69", "63.0", "30", "120"],
    ]


def test_a_robots_joints_are_shown():
    lines = succeeds("robots", "smpl").splitlines()
    assert len(lines) == 70
    assert lines[1].split() == ["L_Hip_x", "L_Hip", "-0.9", "1.4", "800.0", "80.0", "500.0"]
    assert "no robot 'x'. Known: g1, smpl" in fails("robots", "x")


def test_a_robots_model_is_printed():
    root = ET.fromstring(succeeds("robots", "--mjcf", "smpl"))
    assert root.tag == "mujoco" and len(root.findall(".//joint")) == 1 + 69
    assert "no robot 'smlp'" in fails("robots", "--mjcf", "smlp")
    assert call("robots", "--mjcf").exit_code == 2


def test_bench_measures_three_rates():
    words = ["bench", "--num-envs", 4, "--seconds", 0.1, "--threads", 1]
    rates = json.loads(succeeds(*words, "--json"))
    speeds = {"bare_mujoco", "simulator", "environment", "ratio"}
    others = {"against", "against_simulator", "against_environment"}
    assert set(rates) == {"num_envs", "threads", "backend", "device"} | speeds | others
    assert {rates[name] for name in others} == {None}
    assert (rates["num_envs"], rates["threads"], rates["backend"], rates["device"]) == (4, 1, "mujoco", "cpu")
    assert min(rates[speed] for speed in speeds) > 0.0
    assert rates["ratio"] == pytest.approx(rates["environment"] / rates["bare_mujoco"])
    text = succeeds(*words)
    assert text.startswith("4 envs of mujoco on cpu, 1 threads") and text.splitlines()[1].endswith("100%")
    assert call("bench", "--seconds", "0").exit_code == 2


def test_bench_walks_the_g1_at_its_own_speeds():
    words = ["bench", "--robot", "g1", "--num-envs", 2, "--seconds", 0.1, "--threads", 1, "--task", "path"]
    output = succeeds(*words, "--task", "steering", "--json")
    rates = json.loads(output[output.index("{") :])
    assert rates["environment"] > 0.0 and rates["simulator"] > 0.0


def test_bench_compares_with_the_simulator_where_there_is_no_bare_one():
    pytest.importorskip("mujoco_warp")
    words = ["bench", "--simulator", "mjwarp", "--device", "cpu", "--num-envs", 2, "--seconds", 0.1, "--threads", 1]
    rates = json.loads(succeeds(*words, "--json"))
    assert (rates["backend"], rates["device"], rates["bare_mujoco"]) == ("mjwarp", "cpu", None)
    assert rates["ratio"] == pytest.approx(rates["environment"] / rates["simulator"]) and rates["ratio"] > 0.0


def test_bench_measures_one_simulator_against_another(monkeypatch):
    monkeypatch.setattr(bench, "measure", cache(bench.measure))  # compiles for half a minute: once will do
    words = ["bench", "--simulator", "isaaclab", "--against", "mjwarp", "--device", "cpu", "--num-envs", 2]
    words += ["--seconds", 0.1, "--threads", 1]
    rates = json.loads(succeeds(*words, "--json"))
    assert (rates["backend"], rates["against"]) == ("isaaclab", "mjwarp")
    assert min(rates[x] for x in ("simulator", "environment", "against_simulator", "against_environment")) > 0.0
    last = succeeds(*words).splitlines()[-1]
    assert last.startswith("environment of mjwarp: ") and last.endswith("% of it") and "; isaaclab has " in last


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--simulator", "bullet"], "no simulator 'bullet'"), (["--device", "cuda"], "torch sees no GPU")],
)
def test_bench_names_unknown_robots_and_simulators(words, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = call("bench", *words)
    assert result.exit_code == 2 and message in result.stderr


def test_bench_leaves_torchs_threads_as_they_were():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
