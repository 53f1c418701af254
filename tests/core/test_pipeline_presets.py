"""The pipeline's presets: their steps and commands."""

import importlib.util
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest
from recorded_pipelines import STEPS, WORLD_MODEL_STEPS, refused
from tiny_runs import protege

from protege.core.runs.pipeline import LearningCheck, load_steps
from protege.core.runs.steps import on_gpus, stages
from protege.teachers.zoo import read_index, shipped


def docs() -> ModuleType:
    """tests/test_docs.py, for its `parse`."""
    spec = importlib.util.spec_from_file_location("docs_of_pipeline", Path(__file__).parents[1] / "test_docs.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_laptop_pipeline_has_ten_steps_in_its_folder():
    steps = load_steps("laptop", Path("here/pipe"))
    assert [step.name for step in steps] == STEPS
    words = [word for step in steps for word in step.command]
    assert not any("{" in word for word in words)
    assert "agent.expert_model_path=here/pipe/tracker" in steps[1].command
    assert steps[0].learned == [LearningCheck("here/pipe/tracker", "episode/length", "up", 3.0)]
    assert steps[1].learned == [LearningCheck("here/pipe/masked_mimic", "actor/prior_imitation_loss", "down", 5.0)]
    assert [step.name for step in steps if step.learned] == STEPS[:6]


@pytest.mark.parametrize(("preset", "names"), [("laptop", STEPS), ("gpu", STEPS), ("world_model", WORLD_MODEL_STEPS)])
def test_each_command_of_a_whole_pipeline_parses(preset, names, monkeypatch):
    # The files are those of earlier steps.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    steps = load_steps(preset, Path("results/here"))
    assert [step.name for step in steps] == names
    for step in steps:
        docs().parse(["protege", *step.command])


@pytest.mark.parametrize(("preset", "seconds"), [("gpu", 1500), ("world_model", 610)])
def test_the_pipelines_for_a_gpu_train_on_three_clips_in_a_given_time(preset, seconds):
    training = [step for step in on_gpus(preset, load_steps(preset, Path("here")), 1) if step.trains]
    assert len(training) == (7 if preset == "world_model" else 6)
    for step in training:
        words = " ".join(step.command)
        assert "run.motion_file=[" in words and "<robot>_humanoid_jump.npy" in words
    limits = {step.name: float(step.command[step.command.index("--max-time") + 1]) for step in training}
    assert sum(max(limits[step.name] for step in stage) for stage in stages(training)) <= seconds


@pytest.mark.parametrize("preset", ["laptop", "gpu"])
def test_own_clips_replace_those_of_every_training(preset):
    own = ["--motion-file", "a.npy", "--motion-file", "b.npy"]
    for step in load_steps(preset, Path("here"), "g1", ("a.npy", "b.npy")):
        assert step.command[-6:] == ["--robot", "g1", *own] if step.trains else "--motion-file" not in step.command
        assert not any("_humanoid_" in word for word in step.command)


DEMO = ["student", *STEPS[6:]]


def test_the_demo_starts_from_the_shipped_teachers():
    steps = load_steps("demo", Path("here/demo"))
    assert [step.name for step in steps] == DEMO
    teachers = [word.partition("zoo:")[2].rstrip("]") for word in steps[0].command if "zoo:" in word]
    assert len(teachers) == 4 and set(teachers) <= set(read_index(shipped()))


@pytest.mark.parametrize("name", DEMO)
def test_each_command_of_the_demo_parses(name, monkeypatch):
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    [step] = [step for step in load_steps("demo", Path("results/demo")) if step.name == name]
    docs().parse(["protege", *step.command])


def test_the_demo_from_scratch_is_the_laptop_pipeline(tmp_path, recorder):
    lists = [
        protege("pipeline", *words, "--list", "--results-dir", tmp_path)
        for words in (["--preset", "demo", "--from-scratch"], ["--preset", "laptop"], ["--from-scratch"])
    ]
    assert len({result.stdout for result in lists}) == 1 and lists[0].exit_code == 0


def test_list_prints_the_commands_and_runs_none(tmp_path, recorder):
    result = protege("pipeline", "--list", "--results-dir", tmp_path, "--experiment-name", "mine")
    steps = load_steps("laptop", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    assert [shlex.split(line) for line in result.stdout.splitlines()] == [["protege", *step.command] for step in steps]
    assert recorder.names == [] and list(tmp_path.iterdir()) == []


def test_an_unknown_preset_is_one_error_line(tmp_path):
    refused(protege("pipeline", "--preset", "supercomputer", "--results-dir", tmp_path), "supercomputer")
