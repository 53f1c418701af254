"""Resuming the pipeline. No step is run here."""

import json
import os
import sys

import pytest
from recorded_pipelines import STEPS, refused, saved, start

from protege.core.runs import pipeline as module
from protege.core.runs.lock import locked
from protege.core.runs.pipeline import Step


def test_a_pipeline_runs_every_step_once(tmp_path, recorder):
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == STEPS
    assert list(saved(tmp_path)["steps"]) == STEPS
    assert [row["run"] for row in saved(tmp_path)["learned"]] == STEPS[:6]
    assert not any(row["met"] for row in saved(tmp_path)["learned"])  # 2.0 stays 2.0
    assert "all steps" in result.output and "✗" in result.output
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == [] and result.output.count("done before") == len(STEPS)


@pytest.mark.parametrize("code", [1, 2, 130])
def test_a_stopped_pipeline_resumes_at_the_stopped_step(tmp_path, recorder, code):
    recorder.fails = {"steering": code}
    result, names = start(tmp_path, recorder)
    assert result.exit_code == code and names == STEPS[:5]
    assert list(saved(tmp_path)["steps"]) == STEPS[:4]
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == STEPS[4:]
    assert "[4/10] goal_directed: done before" in result.output


def test_an_unknown_step_is_one_error_line_with_the_steps(tmp_path, recorder):
    result, names = start(tmp_path, recorder, "--from", "studnet")
    refused(result, "'studnet'", *STEPS)
    assert names == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"steps"',
        "[" * 100_000,
        '{"learned": []}',
        '{"steps": []}',
        '{"steps": null}',
        '{"steps": {"tracker": 3}}',
        '{"steps": {"tracker": {}}}',
        '{"steps": {"tracker": {"command": ["core"]}}}',
        '{"steps": {"tracker": {"seconds": 1.0}}}',
        '{"steps": {"tracker": {"command": 3, "seconds": 1.0}}}',
        '{"steps": {"tracker": {"command": ["core"], "seconds": "long"}}}',
        '{"steps": {"another": {"command": ["core"], "seconds": null}}}',
        '{"steps": {}, "anew": ["tracker"]}',
        '{"steps": {"\udcff": 3}}',  # not UTF-8
    ],
)
@pytest.mark.parametrize("words", [[], ["--from", "student"]])
def test_a_damaged_record_is_one_error_line(tmp_path, recorder, text, words):
    path = tmp_path / "laptop" / "pipeline.json"
    path.parent.mkdir()
    path.write_bytes(data := text.encode(errors="surrogateescape"))
    result, names = start(tmp_path, recorder, *words)
    refused(result, str(path), "damaged", "Delete it")
    assert names == [] and path.read_bytes() == data


def test_the_record_of_an_earlier_version_is_read(tmp_path, recorder):
    start(tmp_path, recorder)
    data = saved(tmp_path)
    del data["anew"]
    (tmp_path / "laptop" / "pipeline.json").write_text(json.dumps(data))
    assert start(tmp_path, recorder)[1] == []


def test_a_step_is_one_command_whose_exit_code_is_returned(monkeypatch):
    # Any program will do for `python -m protege.core.cli.umbrella`.
    started = []
    run_child = module.run_child

    def fake(words: list[str], environment: dict[str, str]):
        started.append(words)
        return run_child([sys.executable, "-S", "-c", "raise SystemExit(3)"], environment)

    monkeypatch.setattr(module, "run_child", fake)
    assert module._run([Step("check", ["deploy", "check"])]) == ([3], False)
    assert started == [[sys.executable, "-m", "protege.core.cli.umbrella", "deploy", "check"]]


@pytest.mark.parametrize("code", [2, 130])
def test_only_a_stopped_pipeline_says_that_it_goes_on(tmp_path, recorder, code):
    recorder.fails = {"steering": code}
    result, _ = start(tmp_path, recorder)
    assert result.exit_code == code and ("goes on" in result.stderr) == (code == 130)


def test_a_stop_signal_prevents_further_steps(tmp_path, recorder, monkeypatch):
    monkeypatch.setattr(module, "_run", lambda steps: (recorder(steps)[0], steps[-1].name == "path_follower"))
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 130 and names == STEPS[:3] and list(saved(tmp_path)["steps"]) == STEPS[:3]
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == STEPS[3:]


def test_a_second_pipeline_in_the_same_folder_is_refused(tmp_path, recorder):
    with locked(tmp_path / "laptop"):
        result, names = start(tmp_path, recorder)
    refused(result, str(tmp_path / "laptop"), f"is in use by process {os.getpid()} on ", f"kill {os.getpid()}")
    assert names == [] and list(tmp_path.iterdir()) == []


def test_a_killed_pipelines_temporary_record_is_removed(tmp_path, recorder):
    start(tmp_path, recorder)
    (tmp_path / "laptop" / ".pipeline.json.abcd1234").write_text("{")
    start(tmp_path, recorder)
    assert list((tmp_path / "laptop").glob(".*")) == []
