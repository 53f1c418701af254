"""The four steps on the Unitree G1 with a user's commands: training, evaluation, export, its check and closed loops.

Budgets are tiny: the steps must run, the policies need not succeed.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import MODEL, TINY, TRACKER, protege, train

from protege.core.runs import checkpoint
from protege.sim.robots import get_robot

G1 = ["--robot", "g1", "--max-iterations", 2]
TEACHERS = ["path_follower", "goal_directed", "steering"]
TASKS = ["path", "goal", "steering"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of all four steps; runs have their presets' names."""
    results = tmp_path_factory.mktemp("results")
    expert = f"agent.expert_model_path={train(TRACKER, results, 'g1_tracker', *G1)}"
    train("masked_mimic/path_follower", results, "g1_masked_mimic", *G1, expert)
    for kind in TEACHERS:
        train(kind, results, f"g1_{kind}", *G1, expert, package="teachers")
    teachers = [
        f"teacher_models.{name}.checkpoint=['{results / f'g1_{name}'}']" for name in (*TEACHERS, "masked_mimic")
    ]
    student = [*TINY, *MODEL, "max_time=null", "evaluation_interval=1", "evaluation_episodes=4"]
    where = ["--results-dir", results]
    done = protege("distill", "train", "distillation/unified_lightweight", *where, *G1, *student, *teachers)
    assert done.exit_code == 0, done.output
    return results


@pytest.fixture(scope="module")
def exported(runs: Path) -> Path:
    """The student's export."""
    student, folder = runs / "g1_unified_lightweight", runs / "onnx"
    done = protege("deploy", "export", "--checkpoint", student, "--output", folder)
    assert done.exit_code == 0, done.output
    return folder


def test_checkpoints_are_of_the_g1(runs):
    for name in ("tracker", "masked_mimic", *TEACHERS, "unified_lightweight"):
        saved = checkpoint.load(runs / f"g1_{name}" / "last.ckpt")
        assert saved.robot == "g1" and saved.joint_names == list(get_robot("g1").joint_names), name
        assert saved.finished and saved.iteration == 2 and saved.training["env"]["invalid_count"] == 0, name
        assert all(Path(x).name.startswith("g1_humanoid_") for x in saved.config["run"]["motion_file"]), name


def test_the_student_is_evaluated_on_every_task(runs, tmp_path):
    groups = ["distillation/tasks/unified_evaluation", "masked_mimic/tasks/patterns"]
    words = [
        "--checkpoint",
        runs / "g1_unified_lightweight",
        "--num-episodes",
        2,
        "--num-envs",
        2,
        "--output",
        tmp_path,
    ]
    done = protege("distill", "evaluate", *words, *(x for group in groups for x in ("--opt", group)), "--task", "track")
    assert done.exit_code == 0, done.output
    data = json.loads((tmp_path / "evaluation.json").read_text())
    assert data["robot"] == "g1" and {*TASKS, "track", "masked_mimic/head_hands"} <= set(data["tasks"])
    assert all(x["episodes"] == 2 and x["failed_by"]["physics"] == 0 for x in data["tasks"].values())


def test_the_export_acts_like_the_policy(runs, exported):
    done = protege("deploy", "check", exported, "--checkpoint", runs / "g1_unified_lightweight", "--num-states", 50)
    assert done.exit_code == 0, done.output
    done = protege("deploy", "info", exported)
    assert done.exit_code == 0 and "student of g1" in done.output and "29 joints at 50 Hz" in done.output


@pytest.mark.parametrize("task", [*TASKS, "motion"])
@pytest.mark.parametrize("start", ["moving", "standing"])
def test_closed_loops_run_at_the_robots_control_rate(task, start, exported, tmp_path):
    words = ["--task", task, "--seconds", 0.5, "--fast", "--no-safety", "--record", tmp_path / "run.npz"]
    words += ["--motion-file", "g1_humanoid_walk.npy"] if task == "motion" else []
    words += ["--standing"] if start == "standing" else []
    report = tmp_path / "report.json"
    done = protege("deploy", "run", exported, *words, "--report", report)
    assert done.exit_code == 0, done.output
    assert json.loads(report.read_text())["loop"]["steps"] == 25  # at 50 Hz
    with np.load(tmp_path / "run.npz") as recording:
        assert any(x.shape == (25, 29) and np.isfinite(x).all() for x in recording.values())


def test_the_safety_layer_ends_a_fall_in_damping(exported, tmp_path):
    """The policy cannot stand, so a limit is exceeded within three seconds."""
    report = tmp_path / "report.json"
    done = protege("deploy", "run", exported, "--task", "goal", "--fast", "--seconds", 3, "--report", report)
    result = json.loads(report.read_text())
    assert result["loop"]["event"] is not None and not result["stood"], done.output
