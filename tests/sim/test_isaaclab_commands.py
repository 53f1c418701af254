"""Every command of the guide with `--simulator isaaclab`, for an iteration: the four steps and the evaluation of the student."""

import json
from pathlib import Path

import pytest
from tiny_runs import MODEL, ROLLOUT, TRACKER, protege, train

from protege.core.runs.checkpoint import load

ISAACLAB = ["--simulator", "isaaclab", "--max-iterations", 1, "episode_length_s=0.2"]
TEACHERS = ("path_follower", "goal_directed", "steering")
TASKS = ("path", "goal", "steering", "masked_mimic")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of steps 1 to 3."""
    results = tmp_path_factory.mktemp("results")
    tracker = train(TRACKER, results, "smpl_tracker", *ISAACLAB)
    expert = f"agent.expert_model_path={tracker}"
    train("masked_mimic/path_follower", results, "smpl_masked_mimic", *ISAACLAB, expert)
    for teacher in TEACHERS:
        train(teacher, results, f"smpl_{teacher}", *ISAACLAB, expert, package="teachers")
    return results


def test_steps_one_to_three_are_trained_on_it(runs):
    for name in ("tracker", "masked_mimic", *TEACHERS):
        saved = load(runs / f"smpl_{name}")
        assert saved.config["run"]["simulator"] == "isaaclab" and saved.finished, name
        assert saved.samples == 32 and saved.training["env"]["invalid_count"] == 0


def test_a_run_goes_on(runs):
    tracker = train(TRACKER, runs, "smpl_tracker", *ISAACLAB, "--max-iterations", 2)
    assert load(tracker).iteration == 2


def test_step_four_and_the_evaluation(runs):
    teachers = [f"teacher_models.{name}.checkpoint=['{runs / f'smpl_{name}'}']" for name in (*TEACHERS, "masked_mimic")]
    student = runs / "smpl_unified_lightweight"
    words = [
        "distillation/unified_lightweight",
        "--results-dir",
        runs,
        "--experiment-name",
        student.name,
        *ISAACLAB,
        "--num-envs",
        8,
    ]
    words += [
        "run.device=cpu",
        "run.num_threads=1",
        "env.history_steps=2",
        "env.num_plans=8",
        *ROLLOUT,
        *MODEL,
        "max_time=null",
    ]
    words += ["evaluation_interval=0"]
    mix = ", ".join(f"{task}: 1" for task in TASKS)
    done = protege("distill", "train", *words, *teachers, f"curriculum=[{{name: all, task_mix: {{{mix}}}}}]")
    assert done.exit_code == 0, done.output
    chosen = ["--checkpoint", student / "last.ckpt", "--num-episodes", 2, "--simulator", "isaaclab", "--device", "cpu"]
    done = protege("distill", "evaluate", *chosen, "--opt", "masked_mimic/tasks/steering", "--task", "track")
    assert done.exit_code == 0, done.output
    data = json.loads((student / "evaluation" / "evaluation.json").read_text())
    assert data["simulator"] == "isaaclab" and list(data["tasks"]) == ["steering", "track"]
    assert all(x["episodes"] == 2 and x["failed_by"]["physics"] == 0 for x in data["tasks"].values())
