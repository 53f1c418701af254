"""`protege evaluate --every-clip`: its file, its table, and its errors."""

import json
from pathlib import Path

import pytest
import torch
from many_clips import many
from tiny import save_tracker
from tiny_runs import protege

from protege.core.motions import save_clip
from protege.core.robots.robot import Robot
from protege.core.runs.load_policy import load_policy
from protege.distill.every_clip import ERRORS, SUCCESSES, _clip, _summary, evaluate_clips, worst


@pytest.fixture(scope="module")
def folder(robot: Robot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tracker, and a manifest of seven clips, two of them for testing."""
    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("every")
    save_tracker(place / "tracker", robot=robot)
    for clip in many(robot, 7):
        save_clip(place / clip.name, clip, robot)
    (place / "m.yaml").write_text("clips: ['clip*.npy', {path: 'clip[25].npy', split: test}]")
    return place


def evaluate(folder: Path, *words: object):
    where = ["--checkpoint", folder / "tracker", "--motion-file", folder / "m.yaml", "--device", "cpu"]
    return protege("evaluate", *where, "--output", folder / "out", *words)


@pytest.mark.parametrize(("split", "names"), [("test", ["clip2", "clip5"]), ("all", [f"clip{i}" for i in range(7)])])
def test_every_clip_of_a_split_is_in_the_file_once(folder: Path, robot: Robot, split: str, names: list[str]) -> None:
    result = evaluate(folder, "--task", "track", "--every-clip", "--split", split, "--num-envs", 2)
    assert result.exit_code == 0, result.output
    data = json.loads((folder / "out" / "clips_track.json").read_text())
    assert sorted(row["clip"] for row in data["per_clip"]) == names
    assert data["clips"] == len(names) and data["robot"] == robot.name and data["motion_split"] == split
    for rule in ("success", "success_height_tilt"):
        assert data[rule] == pytest.approx(sum(row[rule] for row in data["per_clip"]) / len(names))
    assert data["mpjpe_mm"] == pytest.approx(
        sum(row["mpjpe_mm"] or 0.0 for row in data["per_clip"])
        / sum(row["mpjpe_mm"] is not None for row in data["per_clip"])
    )
    for row in data["per_clip"]:
        assert 0.0 <= row["followed_s"] <= row["seconds"] + 1e-9
        assert (row["followed_s"] == pytest.approx(row["seconds"])) == row["success"]
        assert row["root_relative_mpjpe_mm"] < 2000.0 and row["velocity_error_mm_per_frame"] > 0.0
    assert all(words in result.stdout for words in (f"all {len(names)}", "MPJPE", "0.25 m off in"))
    again = json.loads((folder / "out" / "clips_track.json").read_text())
    assert evaluate(folder, "--task", "track", "--every-clip", "--split", split, "--num-envs", 2).exit_code == 0
    assert json.loads((folder / "out" / "clips_track.json").read_text()) == again, "the evaluation is deterministic"


def test_the_file_and_the_table_state_the_conditions(folder: Path) -> None:
    change, where = "env.steering_params.speed=[0, 0.5]", ["--terrain", "gentle", "--push", 100]
    result = evaluate(folder, "--task", "track", "--every-clip", "--split", "test", *where, "--seed", 3, change)
    assert result.exit_code == 0, result.output
    data = json.loads((folder / "out" / "clips_track.json").read_text())
    assert data["terrain"]["kind"] == "gentle" and data["push"] == 100.0 and data["overrides"] == [change]
    title = f"mujoco, seed 3, pushed with 100 N, on gentle terrain, {change}: every clip"
    assert title in " ".join(result.stdout.split())


def test_a_task_without_clips_is_refused_before_any_clip_is_played(folder: Path, tmp_path: Path) -> None:
    result = evaluate(folder, "--task", "track", "--task", "path", "--every-clip", "--output", tmp_path / "none")
    assert result.exit_code == 2 and "--every-clip: the task path plays no clips. Take --task track" in result.stderr
    assert not (tmp_path / "none").exists()
    result = evaluate(folder, "--every-clip", "--simulators", "mujoco,mjwarp")
    assert result.exit_code == 2 and "--every-clip is played in one simulator" in result.stderr


def test_given_clips_need_not_have_the_trainings_tags(folder: Path) -> None:
    loaded = load_policy(folder / "tracker")
    loaded.config["run"]["motion_tags"] = ["slow"]
    data = evaluate_clips(loaded, "track", num_envs=1, motion_file=[str(folder / "clip1.npy")], device="cpu")
    assert [row["clip"] for row in data["per_clip"]] == ["clip1"]


def test_measures_of_a_clip_are_in_millimetres_and_seconds() -> None:
    """A clip of 40 steps that is lost after 30, and one that ends when the physics produces NaN."""
    nan = float("nan")
    columns = {
        "length": [40.0, 8.0], "failed": [1.0, 1.0], "lost/last": [1.0, 0.0], "toppled/last": [0.0, 0.0],
        "lost/mean": [0.25, 0.0], "cartesian_err/mean": [0.05, nan], "root_relative_err/mean": [0.03, nan],
        "velocity_err/mean": [0.002, nan], "acceleration_err/mean": [0.001, nan],
    }  # fmt: skip
    rows = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    lost, broken = (_clip(rows, env, f"clip{env}", 7 + env, 0.02) for env in (0, 1))
    assert lost == pytest.approx({
        "clip": "clip0", "index": 7, "seconds": 0.8, "success": False, "success_height_tilt": False, "followed_s": 0.6,
        "mpjpe_mm": 50.0, "root_relative_mpjpe_mm": 30.0, "velocity_error_mm_per_frame": 2.0,
        "acceleration_error_mm_per_frame2": 1.0,
    })  # fmt: skip
    assert [broken[rule] for rule in SUCCESSES] == [False, False] and [broken[key] for key in ERRORS] == [None] * 4


def test_means_are_over_all_clips_and_over_successes_by_the_first_rule() -> None:
    def row(success: bool, tilt: bool, error: float | None) -> dict[str, object]:
        return {"success": success, "success_height_tilt": tilt, **dict.fromkeys(ERRORS, error)}

    data = _summary("it falls", "track", 0.02, [row(True, True, 10.0), row(True, False, 30.0), row(False, True, 110.0),
                                                row(False, False, None)])  # fmt: skip
    assert (data["clips"], data["success"], data["success_height_tilt"]) == (4, 0.5, 0.5)
    for key in ERRORS:
        assert (data[key], data[f"{key}_of_successes"]) == (50.0, 20.0)
    assert data["success_ci"] == pytest.approx([0.15, 0.85], abs=0.001)  # Wilson, by hand


def test_the_worst_clips_come_first() -> None:
    rows = [
        {"clip": name, "success": a, "success_height_tilt": b, "mpjpe_mm": error}
        for name, a, b, error in (
            ("good", True, True, 20.0), ("better", True, True, 10.0), ("half", False, True, 5.0),
            ("none", False, False, None), ("both", False, False, 300.0),
        )
    ]  # fmt: skip
    assert [row["clip"] for row in worst(rows)] == ["none", "both", "half", "good", "better"]
    assert [row["clip"] for row in worst(rows, 2)] == ["none", "both"]
