"""Repeating steps of the pipeline. No step is run here."""

import json
from pathlib import Path

import pytest
from recorded_pipelines import STEPS, saved, start
from tiny_runs import TINY, TRACKER, protege

from protege.core.runs import pipeline as module
from protege.core.runs.checkpoint import load
from protege.core.runs.pipeline import Step


def change_command(folder: Path, name: str) -> None:
    """Change the record as if a step had been run with another command."""
    data = saved(folder)
    data["steps"][name]["command"].append("agent.learning_rate=1")
    (folder / "laptop" / "pipeline.json").write_text(json.dumps(data))


def test_from_repeats_a_step_and_the_later_ones(tmp_path, recorder):
    start(tmp_path, recorder)
    result, names = start(tmp_path, recorder, "--from", "student")
    assert result.exit_code == 0 and names == STEPS[5:]
    assert list(saved(tmp_path)["steps"]) == STEPS


def test_a_step_with_a_changed_command_and_later_ones_are_repeated(tmp_path, recorder):
    start(tmp_path, recorder)
    change_command(tmp_path, "path_follower")
    recorder.fails = {"goal_directed": 1}
    _, names = start(tmp_path, recorder)
    assert names == STEPS[2:4]
    # Later steps do not count as done although they once were.
    _, names = start(tmp_path, recorder)
    assert names == STEPS[3:]


TRAININGS = STEPS[:6]


def test_new_and_resumed_steps_are_not_restarted(tmp_path, recorder):
    recorder.fails = {"steering": 130}
    start(tmp_path, recorder)
    assert recorder.fresh == []
    start(tmp_path, recorder)
    assert recorder.names == STEPS[4:] and recorder.fresh == []
    # Trainings are not lost if the record was deleted.
    (tmp_path / "laptop" / "pipeline.json").unlink()
    start(tmp_path, recorder)
    assert recorder.names == STEPS and recorder.fresh == []


@pytest.mark.parametrize("index", range(len(STEPS)))
@pytest.mark.parametrize("how", ["from", "changed"])
def test_repeated_trainings_are_restarted(tmp_path, recorder, how, index):
    start(tmp_path, recorder)
    if how == "changed":
        change_command(tmp_path, STEPS[index])
    result, names = start(tmp_path, recorder, *(["--from", STEPS[index]] if how == "from" else []))
    assert result.exit_code == 0 and names == STEPS[index:]
    assert recorder.fresh == TRAININGS[index:]
    # The record contains the preset's commands, and nothing remains to be done.
    assert not any("--no-resume" in entry["command"] for entry in saved(tmp_path)["steps"].values())
    assert saved(tmp_path)["anew"] == {}
    assert start(tmp_path, recorder)[1] == []


@pytest.mark.parametrize("code", [1, 130])
@pytest.mark.parametrize("how", ["from", "changed"])
def test_a_stopped_repetition_is_continued(tmp_path, recorder, how, code):
    start(tmp_path, recorder)
    if how == "changed":
        change_command(tmp_path, "path_follower")
    recorder.fails = {"path_follower": code}
    start(tmp_path, recorder, *(["--from", "path_follower"] if how == "from" else []))
    assert recorder.names == ["path_follower"] == recorder.fresh
    assert list(saved(tmp_path)["steps"]) == STEPS[:2]
    # A step that stopped with its own checkpoint resumes from it, otherwise it restarts. Later steps restart.
    recorder.fails = {"goal_directed": 1}
    start(tmp_path, recorder)
    assert recorder.names == STEPS[2:4]
    assert recorder.fresh == (["goal_directed"] if code == 130 else STEPS[2:4])
    start(tmp_path, recorder)
    assert recorder.names == STEPS[3:] and recorder.fresh == TRAININGS[3:]


def test_a_repetition_in_progress_can_be_repeated(tmp_path, recorder):
    start(tmp_path, recorder)
    for _ in range(2):
        recorder.fails = {"student": 130}
        start(tmp_path, recorder, "--from", "student")
        assert recorder.names == recorder.fresh == ["student"]
    start(tmp_path, recorder, "--from", "tracker")
    assert recorder.fresh == TRAININGS


def test_repeating_after_an_unfinished_step(tmp_path, recorder):
    start(tmp_path, recorder)
    recorder.fails = {"goal_directed": 130}
    start(tmp_path, recorder, "--from", "goal_directed")
    start(tmp_path, recorder, "--from", "student")
    assert recorder.names == STEPS[3:] and recorder.fresh == ["steering", "student"]


def test_steps_after_a_step_that_was_never_done_are_restarted(tmp_path, recorder):
    start(tmp_path, recorder)
    data = saved(tmp_path)
    del data["steps"]["steering"]  # a step that an older preset lacked
    (tmp_path / "laptop" / "pipeline.json").write_text(json.dumps(data))
    start(tmp_path, recorder)
    assert recorder.names == STEPS[4:] and recorder.fresh == ["student"]


TOGETHER = STEPS[1:5]
"""Steps of a group, which need nothing from each other."""
GROUPS = ["--preset", "world_model", "--experiment-name", "laptop"]


def test_one_step_of_a_group_fails_and_the_others_stay_done(tmp_path, recorder):
    recorder.fails = {"path_follower": 130, "goal_directed": 2}
    result, names = start(tmp_path, recorder, *GROUPS)
    assert result.exit_code == 2 and names == STEPS[:5]
    assert list(saved(tmp_path)["steps"]) == ["tracker", "masked_mimic", "steering"]
    result, names = start(tmp_path, recorder, *GROUPS)
    assert result.exit_code == 0 and names == [*TOGETHER[1:3], "imitation", *STEPS[5:]] and recorder.fresh == []
    assert result.stdout.count("done before") == 3


@pytest.mark.parametrize("how", ["from", "changed"])
def test_repeating_a_step_of_a_group_repeats_later_stages_alone(tmp_path, recorder, how):
    start(tmp_path, recorder, *GROUPS)
    if how == "changed":
        change_command(tmp_path, "goal_directed")
    result, names = start(tmp_path, recorder, *GROUPS, *(["--from", "goal_directed"] if how == "from" else []))
    assert result.exit_code == 0 and names == ["goal_directed", "imitation", *STEPS[5:]]
    assert recorder.fresh == ["goal_directed", "imitation", "student"]


def test_a_repeated_training_starts_from_scratch_with_its_new_config(tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    where = ["--results-dir", str(tmp_path), "--experiment-name", "tracker", "--config", str(config)]
    step = Step("tracker", ["core", "train", TRACKER, *where, *TINY, "run.max_iterations=2"])
    monkeypatch.setattr(module, "load_steps", lambda preset, root, robot, clips: [step])

    def run(steps: list[Step]) -> tuple[list[int], bool]:
        [step] = steps
        result = protege(*step.command)
        assert result.exit_code == 0, result.output
        return [0], False

    monkeypatch.setattr(module, "_run", run)
    finals = []
    for words, rate in (([], 0.001), ([], 0.002), (["--from", "tracker"], 0.002), (["--from", "tracker"], 0.002)):
        config.write_text(f"agent: {{learning_rate: {rate}}}")
        result = protege("pipeline", "--results-dir", tmp_path, *words)
        assert result.exit_code == 0, result.output
        finals.append(load(tmp_path / "tracker" / "last.ckpt"))
    first, unnoticed, other, again = finals
    assert [x.config["agent"]["learning_rate"] for x in finals] == [0.001, 0.001, 0.002, 0.002]
    assert unnoticed.seconds == first.seconds and again.seconds != other.seconds
    assert [x.iteration for x in finals] == [2, 2, 2, 2]
