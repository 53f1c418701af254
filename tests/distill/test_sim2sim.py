"""One policy in several simulators: the comparison by hand, and the command in real envs."""

import json

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from tiny import save_tracker

from protege.core.runs.evaluation import wilson_interval
from protege.distill.cli import main
from protege.distill.sim2sim import compare, print_comparison


def result(successes: int, error: float | None) -> dict:
    """The entry in evaluation.json of a task with 100 episodes."""
    return {
        "title": "Follow a path",
        "error_name": "path_following_err",
        "error_unit": "m",
        "failure_rule": "an episode fails if ...",
        "episodes": 100,
        "success": successes / 100,
        "success_ci": list(wilson_interval(successes, 100)),
        "falls": 100 - successes,
        "error": error,
        "error_ci": None if error is None else [error - 0.01, error + 0.01],
    }


def evaluations(**tasks: dict) -> dict:
    facts = {"checkpoint": "c", "kind": "student", "name": "n", "robot": "smpl", "motion_file": ["walk"], "seed": 0}
    return {name: {**facts, "tasks": {"path": x}} for name, x in tasks.items()}


def test_the_drop_is_relative_to_the_first_simulator():
    data = compare(evaluations(mujoco=result(90, 0.04), isaaclab=result(85, 0.05), mjwarp=result(92, None)))
    rows = data["tasks"]["path"]["simulators"]
    assert list(rows) == ["mujoco", "isaaclab", "mjwarp"]
    assert [rows["mujoco"][x] for x in ("drop", "drop_ci", "error_ratio")] == [None, None, None]
    assert rows["isaaclab"]["drop"] == pytest.approx(5.0)
    assert rows["isaaclab"]["error_ratio"] == pytest.approx(1.25)
    assert rows["mjwarp"]["drop"] == pytest.approx(-2.0), "a gain is a negative drop"
    assert rows["mjwarp"]["error_ratio"] is None
    assert rows["isaaclab"]["falls"] == 15 and rows["isaaclab"]["error"] == 0.05


def test_the_interval_is_that_of_newcombe():
    """The example of Newcombe 1998 (Statistics in Medicine 17, p. 877), his method 10: 56/70 and 48/80."""
    first, second = result(0, 1.0), result(0, 1.0)
    first |= {"success": 56 / 70, "success_ci": list(wilson_interval(56, 70))}
    second |= {"success": 48 / 80, "success_ci": list(wilson_interval(48, 80))}
    row = compare(evaluations(a=first, b=second))["tasks"]["path"]["simulators"]["b"]
    assert row["drop"] == pytest.approx(20.0)
    assert row["drop_ci"] == pytest.approx([5.24, 33.39], abs=0.005)


def test_the_table_fits_eighty_columns():
    console = Console(width=80, record=True, force_terminal=False)
    print_comparison(compare(evaluations(mujoco=result(100, 0.026), isaaclab=result(0, 0.031))), console)
    text = console.export_text()
    assert "…" not in text
    for part in ("path_following_err", "error, m", "100.0%", "isaaclab", "1.19", "[96.3, 100.0]", "0.031", "100"):
        assert part in text


@pytest.fixture(scope="module")
def tracker(robot, tmp_path_factory):
    torch.manual_seed(0)
    return save_tracker(tmp_path_factory.mktemp("tracker"), robot=robot)


def test_the_command_plays_the_same_episodes_in_all_simulators(tracker, tmp_path):
    words = ["evaluate", "--checkpoint", tracker, "--simulators", "mujoco,mjwarp,isaaclab", "--task", "path"]
    words += ["--num-episodes", 2, "--num-envs", 2, "--device", "cpu", "--output", tmp_path]
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "simulators.json").read_text())
    rows = data["tasks"]["path"]["simulators"]
    assert list(rows) == ["mujoco", "mjwarp", "isaaclab"]
    for name, row in rows.items():
        saved = json.loads((tmp_path / name / "evaluation.json").read_text())
        assert saved["simulator"] == name and saved["tasks"]["path"]["error"] == row["error"]
        assert (tmp_path / name / "evaluation.html").is_file()
        assert row["error"] == pytest.approx(rows["mujoco"]["error"], rel=0.02), "the same commands and starts"
    assert (
        rows["isaaclab"]["drop"] == 0.0
        and "isaaclab" in done.output
        and str(tmp_path / "simulators.json") in done.output
    )


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ("mujoco", "--simulators takes two names or more, each once"),
        ("mujoco,mujoco", "each once"),
        ("mujoco,bullet", "no simulator 'bullet'. Known: mujoco, mjwarp, isaaclab"),
        ("mujoco,physx", "PhysX is for later"),
    ],
)
def test_bad_names_are_refused_before_anything_is_played(tracker, tmp_path, names, complaint):
    words = ["evaluate", "--checkpoint", str(tracker), "--simulators", names, "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2 and complaint in done.output
    assert not (tmp_path / "out").exists()


def test_one_simulator_and_several_exclude_each_other():
    done = CliRunner().invoke(
        main, ["evaluate", "--checkpoint", "x", "--simulators", "mujoco,mjwarp", "--simulator", "mujoco"]
    )
    assert done.exit_code == 2 and "no --simulator beside it" in done.output
