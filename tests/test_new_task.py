"""A task added by another package: one file (tests/sim/toy_task.py) and an entry point of the group `protege.tasks`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toy_task
from tiny_runs import TINY, TRACKER, protege

from protege.core.runs.checkpoint import load
from protege.core.tasks import tasks
from protege.deploy.loop.recording import load as load_recording

SOURCES = [Path(__file__).parent / folder for folder in ("core", "sim")]
RULE = "an episode fails if the root is over 0.25 m from its height, or a fall"
# A user's commands, run in one process, because importing torch takes seconds.
PROGRAM = """
import json, sys
from tiny_runs import protege
for words in json.loads(sys.argv[1]):
    result = protege(*words)
    print(result.output)
    if result.exit_code:
        sys.exit(f"{words}: exit code {result.exit_code}: {result.exception}")
from protege.sim.gym import IDS
print(*IDS.values())
"""
STUDENT = [
    "agent.curriculum=[{name: all, share: 1, task_mix: {height: 1, track: 1}}]",
    "model.tokens=[proprioception, history, height, masked_poses]",
    "model.critic_inputs=[proprioception, height, poses]",
    "agent.evaluation_interval=0",
]
IMAGINED = ["run.device=cpu", "run.num_threads=1", "env.num_envs=8", "agent.imagined_envs=8", "agent.model_units=[16]"]
IMAGINED += [f"agent.{x}" for x in ("model_batch=8", "warmup_steps=12", "replay_steps=16", "warmup_updates=2")]
IMAGINED += ["agent.horizon=3", "agent.expert_model_path=", "model.mlp_units=[16]", "model.critic_units=[16]"]


def run(*words: object, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program with these folders on Python's path."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run([*map(str, words)], capture_output=True, text=True, env=env, check=False)


def commands(folder: Path, tracker: Path) -> list[list[object]]:
    """Commands from the tracker to the exported student."""
    where, twice = ["--results-dir", folder, "--experiment-name"], ["--max-iterations", 2]
    teachers = [f"agent.teacher_models.{x}" for x in ("height_keeper", "masked_mimic")]
    known = [f"{teachers[0]}.checkpoint=[{folder / 'keeper'}]", f"{teachers[1]}.checkpoint=[{tracker}]"]
    return [
        ["teachers", "presets"],
        ["core", "train", TRACKER, *where, "other", *TINY, "--max-iterations", 1],
        ["teachers", "train", "height_keeper", *where, "keeper", *TINY, *twice, f"agent.expert_model_path={tracker}"],
        ["teachers", "train", "height_keeper/world_model", *where, "imagined", *IMAGINED, *twice],
        ["distill", "train", "distillation/unified_lightweight", *where, "student", *TINY, *twice, *STUDENT, *known],
        ["distill", "evaluate", "--checkpoint", folder / "student", "--task", "height", "--num-episodes", 2],
        ["deploy", "export", "--checkpoint", folder / "student", "--output", folder / "export"],
        ["deploy", "check", folder / "export", "--checkpoint", folder / "student", "--num-states", 20],
    ]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny_tracker: Path) -> tuple[Path, str]:
    """The results folder and the output of all these commands, with the toy task's package installed."""
    folder = tmp_path_factory.mktemp("new_task")
    toy_task.install(folder)
    words = json.dumps([[str(word) for word in words] for words in commands(folder, tiny_tracker)])
    done = run(sys.executable, "-c", PROGRAM, words, path=(folder, *SOURCES))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_toy_task_is_not_installed_here():
    assert "height" not in tasks()


def test_a_teacher_is_trained_on_it_without_a_preset_of_its_own(ran: tuple[Path, str]):
    folder, output = ran
    assert "height_keeper\n" in output
    saved = load(folder / "keeper")
    assert (saved.kind, saved.iteration, saved.finished) == ("height_keeper", 2, True)
    assert saved.config["env"]["task_mix"] == {"track": 0.0, "height": 1.0}
    assert saved.config["model"]["added_tokens"] == ["height"]
    assert saved.obs_shapes["height"] == [1]


def test_a_teacher_is_trained_on_it_through_a_world_model(ran: tuple[Path, str]):
    folder, output = ran
    assert "height_keeper/world_model\n" in output
    saved = load(folder / "imagined")
    assert (saved.kind, saved.iteration, saved.finished) == ("height_keeper", 2, True)
    assert saved.config["env"]["task_mix"] == {"track": 0.0, "height": 1.0}
    assert saved.config["model"]["actor"] == "mlp" and saved.config["model"]["added_tokens"] == ["height"]


def test_a_student_learns_from_that_teacher(ran: tuple[Path, str]):
    saved = load(ran[0] / "student")
    assert (saved.kind, saved.iteration, saved.finished) == ("student", 2, True)
    rows = [json.loads(line) for line in (ran[0] / "student" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["distillation_loss/height"] > 0.0 for row in rows)


def test_the_evaluation_prints_its_failure_rule(ran: tuple[Path, str]):
    folder, output = ran
    assert f"height: {RULE}\n" in output
    results = folder / "student" / "evaluation"
    found = json.loads((results / "evaluation.json").read_text())["tasks"]["height"]
    facts = {key: found[key] for key in ("title", "failure_rule", "error_name", "error_unit", "episodes")}
    assert facts == {
        "title": "Keep a height", "failure_rule": RULE, "error_name": "height_err", "error_unit": "m", "episodes": 2,
    }  # fmt: skip
    assert set(found["failed_by"]) == {"fallen", "height_off", "physics"}
    page = (results / "evaluation.html").read_text()
    assert "Keep a height" in page and RULE in page


def test_other_policies_that_were_trained_there_are_evaluated_here(ran: tuple[Path, str]):
    """Their config contains parameters of a task that is not installed here."""
    assert "height_params" in load(ran[0] / "other").config["env"]
    result = protege("distill", "evaluate", "--checkpoint", ran[0] / "other", "--num-episodes", 2)
    assert result.exit_code == 0 and "track: an episode fails if" in result.output
    result = protege("distill", "evaluate", "--checkpoint", ran[0] / "keeper", "--num-episodes", 2)
    assert result.exit_code == 2 and "learned with height of shape (1,), here it is missing" in result.output


def test_gymnasium_has_an_id_of_the_task(ran: tuple[Path, str]):
    assert "Protege-Height-SMPL-v0" in ran[1].split()


def test_the_export_declares_its_command(ran: tuple[Path, str]):
    facts = json.loads((ran[0] / "export" / "policy.json").read_text())
    assert [x for x in facts["modalities"] if x["inputs"]] == [{"name": "height", "inputs": ["height_w"]}]
    assert [(x["shape"], x["unit"], x["frame"]) for x in facts["inputs"] if x["name"] == "height_w"] == [
        ([], "m", "world")
    ]
    assert "20 states: joint targets differ by at most" in ran[1]


def test_the_runtime_commands_it_by_its_inputs_without_its_package(ran: tuple[Path, str], tmp_path: Path):
    """Half a second in a closed loop with MuJoCo; the commanded height is first 0.9 m and then 0.7 m."""
    script, record = tmp_path / "orders.yaml", tmp_path / "run.npz"
    script.write_text("- {at: 0, height: {height_w: 0.9}}\n- {at: 0.3, height: {height_w: 0.7}}\n")
    program, options = Path(sys.executable).with_name("protege-deploy"), ["--fast", "--seconds", 0.5]
    done = run(program, "run", ran[0] / "export", "--commands", f"script:{script}", "--record", record, *options)
    assert done.returncode == 0 and "deadlines" in done.stdout, done.stderr
    recorded = load_recording(record).columns
    assert np.allclose(recorded["height_w"], [0.9] * 9 + [0.7] * 6)
    assert [*np.unique(recorded["command_mask"], axis=0)[0]] == [False, False, False, True]
    done = run(program, "run", ran[0] / "export", "--task", "height", *options)
    assert done.returncode == 2 and done.stderr == (
        "error: height is ordered by the model's inputs. "
        'Take --commands script:FILE, with [{"at": 0, "height": {...}}]\n'
    )
