"""Steps of a pipeline: folders with unusual names, and reproducible trainings."""

import shlex
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny_runs import TINY, TRACKER, protege

from protege.core.errors import UserError
from protege.core.runs import child, pipeline
from protege.core.runs.checkpoint import load
from protege.core.runs.steps import Step, deterministic, launches, load_steps, on_gpus, stages

# Odd names

ODD = "my #1: [a], it's"
"""A folder's name with special characters of YAML and of a shell."""
STEERING = "steering"
"""The full-size preset, which TINY makes small as it did the tracker."""


@pytest.mark.parametrize(
    "name", ["my #1", "a: b", "it's", '"quoted"', "[1]", "{x}", "a,b", "*", "& co", "null", "1e5", " edge ", "ü", "%d"]
)
def test_the_results_may_have_any_name(tmp_path, name):
    """Each command gets the folder's exact name, as an argument and as a YAML value."""
    result = protege("pipeline", "--list", "--results-dir", tmp_path / name)
    assert result.exit_code == 0, result.output
    root = f"{tmp_path / name}/laptop"
    names = [step.name for step in load_steps("laptop", Path())]
    commands = {step: shlex.split(line) for step, line in zip(names, result.stdout.splitlines(), strict=True)}
    for words in commands.values():
        assert not any("{root}" in word for word in words)
    assert commands["tracker"][commands["tracker"].index("--results-dir") + 1] == root
    values = dict(word.split("=", 1) for word in commands["student"] if word.startswith("agent."))
    for teacher in ("masked_mimic", "path_follower", "goal_directed", "steering"):
        value = yaml.safe_load(values[f"agent.teacher_models.{teacher}.checkpoint"])
        assert value == [f"{root}/{teacher}"]
    [expert] = [word for word in commands["steering"] if word.startswith("agent.expert_model_path=")]
    assert yaml.safe_load(expert.partition("=")[2]) == f"{root}/tracker"


# Reproducible trainings


def test_deterministic_steps_count_samples_on_one_thread():
    for preset in ("laptop", "demo"):
        timed = load_steps(preset, Path("here"))
        steps = deterministic(preset, timed)
        for step, before in zip(steps, timed, strict=True):
            extra = ["run.max_time=null", f"run.max_samples={before.samples}", "run.num_threads=1", "run.device=cpu"]
            assert step.command == before.command + (extra if step.trains else [])
            assert (before.samples is not None) == step.trains
    with pytest.raises(UserError, match=r"pipeline/gpu cannot be deterministic: its step tracker has no budget"):
        deterministic("gpu", load_steps("gpu", Path("here")))


def test_two_deterministic_trainings_are_equal_to_the_bit(tmp_path):
    for place in ("a", ODD):
        where = ["--results-dir", str(tmp_path / place), "--experiment-name", "tracker", "--max-time", "0"]
        step = Step("tracker", ["core", "train", TRACKER, *where, *TINY, "run.num_threads=2"], samples=64)
        [again] = deterministic("tiny", [step])
        result = protege(*again.command)
        assert result.exit_code == 0, result.output
    first, second = (load(tmp_path / place / "tracker") for place in ("a", ODD))
    assert first.samples == second.samples == 64
    assert first.metrics == second.metrics
    assert all(torch.equal(first.model[name], x) for name, x in second.model.items())
    assert str(first.training["optimizer"]) == str(second.training["optimizer"])


def test_a_teacher_finds_its_tracker_in_a_folder_with_an_odd_name(tiny_tracker, tmp_path):
    """`train` accepts the filled-in words of the preset."""
    shutil.copytree(tiny_tracker, tmp_path / ODD / "tracker")
    [step] = [step for step in load_steps("laptop", tmp_path / ODD) if step.name == "steering"]
    command = [STEERING if word == "steering/laptop" else word for word in step.command]
    result = protege(*command, *TINY, "run.max_iterations=1", "run.max_time=null")
    assert result.exit_code == 0, result.output
    assert load(tmp_path / ODD / "steering").config["agent"]["expert_model_path"] == str(tmp_path / ODD / "tracker")


# Several GPUs


def test_tracker_and_student_train_on_several_gpus(monkeypatch):
    result = protege("pipeline", "--preset", "gpu", "--gpus", 2, "--list")
    lines = result.output.splitlines()
    assert [number for number, line in enumerate(lines) if "--nproc-per-node 2 --no-python protege" in line] == [0, 5]
    assert lines[0].startswith("torchrun --standalone") and lines[1].startswith("protege core train masked_mimic")
    started = []
    monkeypatch.setattr(pipeline, "run_child", lambda words, environment: started.append(words) or (0, False))
    step = Step("tracker", ["core", "train"], spreads=True)
    pipeline._run(on_gpus("gpu", [step], 2))
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    assert started == [[sys.executable, "-m", *launcher, "protege.core.cli.umbrella", "core", "train"]]
    refused = protege("pipeline", "--preset", "laptop", "--gpus", 2)
    assert refused.exit_code == 2 and "pipeline/laptop has no step for several GPUs" in refused.stderr


TEACHERS = ["masked_mimic", "path_follower", "goal_directed", "steering"]
OTHERS = ["evaluation", "export", "check", "closed_loop"]


def named(steps: list[Step]) -> list[list[str]]:
    return [[step.name for step in stage] for stage in stages(steps)]


@pytest.mark.parametrize(("preset", "alone"), [("gpu", False), ("world_model", True)])
def test_masked_mimic_and_teachers_train_at_the_same_time(preset, alone, monkeypatch):
    """On several GPUs, one each; on one GPU only where the preset says that they share it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    steps = load_steps(preset, Path("here"))
    students = ["student"] if preset == "gpu" else ["imitation", "student"]
    together = [["tracker"], TEACHERS, *([name] for name in students + OTHERS)]
    assert named(on_gpus(preset, steps, 2)) == together
    assert [step.gpu for step in on_gpus(preset, steps, 3)][:6] == [None, 0, 1, 2, 0, None]
    one_gpu = on_gpus(preset, steps, 1)
    assert named(one_gpu) == (together if alone else [[step.name] for step in steps])
    assert not any(step.environment for step in one_gpu)


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_student_starts_during_its_imitation(gpus):
    steps = on_gpus("world_model", load_steps("world_model", Path("here")), gpus)
    assert [[step.name for step in launch] for launch in launches(steps)][2] == ["imitation", "student"]
    assert ["imitation"] in named(steps)  # in the order of steps it is still a stage of its own


def test_no_step_starts_early_where_steps_do_not_share_a_gpu(monkeypatch):
    monkeypatch.setattr("protege.core.runs.steps.read_preset", lambda name: {})
    assert launches(on_gpus("gpu", [Step("a", []), Step("b", [], early=True)], 1))[1:] == [[Step("b", [])]]


@pytest.mark.parametrize(("code", "codes"), [(0, [0, 0]), (3, [3, 3])])
def test_an_early_step_trains_if_the_step_before_succeeds(code, codes, tmp_path, monkeypatch):
    """It has no exit code of its own if it was ended because the step before failed."""
    program = "from protege.core.runs.child import wait_for_start as w; w(lambda: False); open('{}/b', 'w')"
    programs = {"a": f"raise SystemExit({code})", "b": program.format(tmp_path)}
    monkeypatch.setattr(pipeline, "_words", lambda step: [sys.executable, "-c", programs[step.name]])
    assert pipeline._run([Step("a", []), Step("b", [], early=True)]) == (codes, False)
    assert (tmp_path / "b").exists() == (code == 0)


def test_a_training_that_starts_early_loads_the_checkpoint_that_then_exists(tmp_path, monkeypatch):
    where = ["--results-dir", tmp_path, "--max-iterations", 1, *TINY]
    protege("core", "train", TRACKER, "--experiment-name", "elsewhere", *where)
    monkeypatch.setenv(child.START_FILE, str(tmp_path / "start"))

    def meanwhile(seconds: float) -> None:
        assert not (tmp_path / "late" / "config.yaml").exists()
        (tmp_path / "elsewhere").rename(tmp_path / "before")
        (tmp_path / "start").touch()

    monkeypatch.setattr(child, "time", SimpleNamespace(sleep=meanwhile))
    frozen = ["agent.learning_rate=0", "--checkpoint", tmp_path / "before"]
    result = protege("core", "train", TRACKER, "--experiment-name", "late", *where, *frozen)
    assert result.exit_code == 0, result.output
    before, late = (load(tmp_path / name).model for name in ("before", "late"))
    assert all(torch.equal(late[name], x) for name, x in before.items() if name.startswith("actor."))


def test_a_step_sees_one_of_the_gpus_that_the_pipeline_sees(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Step("a", [], gpu=1).environment == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5")
    assert Step("a", [], gpu=1).environment == {"CUDA_VISIBLE_DEVICES": "GPU-5"}
    assert Step("a", []).environment == {}
