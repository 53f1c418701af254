"""The pipeline: what a run learned by hand, and going on where it stopped. No step is carried out here."""

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from tiny_runs import protege

from protege.core import pipeline as module
from protege.core.errors import UserError
from protege.core.pipeline import Learned, Step, load_steps, measured

STEPS = [
    "tracker",
    "masked_mimic",
    "path_follower",
    "goal_directed",
    "steering",
    "student",
    "evaluation",
    "export",
    "check",
    "closed_loop",
]


def docs() -> ModuleType:
    """tests/test_docs.py, for its `parse`."""
    spec = importlib.util.spec_from_file_location("docs_of_pipeline", Path(__file__).parents[1] / "test_docs.py")
    assert spec and spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


# What a run learned


def write_metrics(folder: Path, *values: float | None, metric: str = "score", end: str = "\n") -> str:
    """Rows of metrics.jsonl, None for one without the metric. Returns the run's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"iteration": i} | ({} if x is None else {metric: x}) for i, x in enumerate(values)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + end)
    return str(folder)


@pytest.mark.parametrize(
    ("values", "direction", "wanted", "factor", "met"),
    [
        ((2.0, 9.0, 8.0), "up", 4.0, 4.0, True),  # 8 / 2
        ((2.0, 9.0, 7.9), "up", 4.0, 3.95, False),
        ((8.0, 1.0, 2.0), "down", 4.0, 4.0, True),  # 8 / 2
        ((8.0, 1.0, 4.0), "down", 4.0, 2.0, False),
        ((1.0, 1.01), "up", 1.0, 1.01, True),  # a factor of 1 asks for any change
        ((1.0, 1.0), "up", 1.0, 1.0, False),
        ((1.0, 1.01), "down", 1.0, 1.0 / 1.01, False),
        ((-3.0, -1.0), "up", 1.0, 1.0 / 3.0, True),  # better, though the quotient is meaningless
        ((0.0, 2.0), "up", 3.0, float("inf"), True),
        ((5.0, 0.0), "down", 3.0, float("inf"), True),
        ((0.0, 0.0), "up", 3.0, 1.0, False),
        ((6.0,), "up", 2.0, 1.0, False),
    ],
)
def test_what_was_learned_by_hand(tmp_path, values, direction, wanted, factor, met):
    run = write_metrics(tmp_path / "tracker", *values)
    row = measured(Learned(run, "score", direction, wanted))
    assert row["factor"] == pytest.approx(factor) and row["met"] is met
    assert (row["first"], row["last"]) == (values[0], values[-1])
    assert (row["run"], row["metric"], row["wanted"]) == ("tracker", "score", wanted)


def test_the_end_is_the_mean_of_the_last_tenth(tmp_path):
    # 29 values: the last 2, (28 + 30) / 2. The first row and the last lack the metric and do not count.
    run = write_metrics(tmp_path, None, *map(float, range(1, 28)), 28.0, 30.0, None)
    row = measured(Learned(run, "score"))
    assert (row["first"], row["last"], row["factor"]) == (1.0, 29.0, 29.0)


def test_a_metric_that_was_never_logged_is_named(tmp_path):
    run = write_metrics(tmp_path, 1.0, 2.0)
    with pytest.raises(UserError, match=r"metrics\.jsonl has no episode/length") as caught:
        measured(Learned(run, "episode/length"))
    assert "--from" in caught.value.remedy
    with pytest.raises(UserError, match="has no score"):
        measured(Learned(str(tmp_path / "nowhere"), "score"))


# The preset


def test_the_laptop_pipeline_has_ten_steps_in_its_folder():
    steps = load_steps("laptop", Path("here/pipe"))
    assert [step.name for step in steps] == STEPS
    words = [word for step in steps for word in step.command]
    assert not any("{" in word for word in words)
    assert "agent.expert_model_path=here/pipe/tracker" in steps[1].command
    assert steps[0].learned == [Learned("here/pipe/tracker", "episode/length", "up", 3.0)]
    assert steps[1].learned == [Learned("here/pipe/masked_mimic", "actor/prior_imitation_loss", "down", 5.0)]
    assert [step.name for step in steps if step.learned] == STEPS[:6]


@pytest.mark.parametrize("name", STEPS)
def test_each_command_of_the_laptop_pipeline_parses(name, monkeypatch):
    # The files are those of earlier steps.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    [step] = [step for step in load_steps("laptop", Path("results/laptop")) if step.name == name]
    docs().parse(["protege", *step.command])


def test_list_prints_the_commands_and_runs_none(tmp_path, recorder):
    result = protege("pipeline", "--list", "--results-dir", tmp_path, "--experiment-name", "mine")
    steps = load_steps("laptop", tmp_path / "mine")
    assert result.exit_code == 0, result.output
    assert [shlex.split(line) for line in result.stdout.splitlines()] == [["protege", *step.command] for step in steps]
    assert recorder.names == [] and list(tmp_path.iterdir()) == []


def test_an_unknown_preset_is_one_line(tmp_path):
    refused(protege("pipeline", "--preset", "supercomputer", "--results-dir", tmp_path), "supercomputer")


# Going on


class Recorder:
    """Stands for `_run`: notes the steps, and stops at the one in `fails` with its exit code."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fails: dict[str, int] = {}

    def __call__(self, step: Step) -> None:
        self.names.append(step.name)
        if step.name in self.fails:
            raise SystemExit(self.fails.pop(step.name))
        for learned in step.learned:
            write_metrics(Path(learned.run), 2.0, 2.0, 2.0, metric=learned.metric)


@pytest.fixture
def recorder(monkeypatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr(module, "_run", recorder)
    return recorder


def refused(result, *named: str) -> None:
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    assert all(word in result.stderr for word in named), result.stderr


def start(folder: Path, recorder: Recorder, *words: str):
    """Start the pipeline. Returns its result and the steps that were carried out."""
    recorder.names.clear()
    return protege("pipeline", "--results-dir", folder, *words), [*recorder.names]


def saved(folder: Path) -> dict:
    return json.loads((folder / "laptop" / "pipeline.json").read_text())


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
def test_a_pipeline_that_stopped_goes_on_at_the_step_that_stopped(tmp_path, recorder, code):
    recorder.fails = {"steering": code}
    result, names = start(tmp_path, recorder)
    assert result.exit_code == code and names == STEPS[:5]
    assert list(saved(tmp_path)["steps"]) == STEPS[:4]
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == STEPS[4:]
    assert "[4/10] goal_directed: done before" in result.output


def test_from_does_a_step_and_the_later_ones_again(tmp_path, recorder):
    start(tmp_path, recorder)
    result, names = start(tmp_path, recorder, "--from", "student")
    assert result.exit_code == 0 and names == STEPS[5:]
    assert list(saved(tmp_path)["steps"]) == STEPS


def test_a_changed_command_is_done_again_and_so_is_what_follows(tmp_path, recorder):
    start(tmp_path, recorder)
    path = tmp_path / "laptop" / "pipeline.json"
    data = saved(tmp_path)
    data["steps"]["path_follower"]["command"].append("agent.learning_rate=1")
    path.write_text(json.dumps(data))
    recorder.fails = {"goal_directed": 1}
    _, names = start(tmp_path, recorder)
    assert names == STEPS[2:4]
    # What followed is not taken for done because it once was.
    _, names = start(tmp_path, recorder)
    assert names == STEPS[3:]


def test_an_unknown_step_is_one_line_that_names_the_steps(tmp_path, recorder):
    result, names = start(tmp_path, recorder, "--from", "studnet")
    refused(result, "'studnet'", *STEPS)
    assert names == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", '{"learned": []}'])
def test_a_damaged_record_is_one_line(tmp_path, recorder, text):
    path = tmp_path / "laptop" / "pipeline.json"
    path.parent.mkdir()
    path.write_text(text)
    result, names = start(tmp_path, recorder)
    refused(result, str(path), "damaged", "Delete it")
    assert names == [] and path.read_text() == text


@pytest.mark.parametrize("code", [0, 2, 130])
def test_a_steps_exit_code_is_passed_on(monkeypatch, capsys, code):
    # Any program will do for `python -m protege.core.umbrella`.
    started = []
    popen = module.subprocess.Popen

    def fake(words: list[str]):
        started.append(words)
        return popen([sys.executable, "-S", "-c", f"raise SystemExit({code})"])

    monkeypatch.setattr(module.subprocess, "Popen", fake)
    if code:
        with pytest.raises(SystemExit) as stopped:
            module._run(Step("check", ["deploy", "check"]))
        assert stopped.value.code == code
    else:
        module._run(Step("check", ["deploy", "check"]))
    assert started == [[sys.executable, "-m", "protege.core.umbrella", "deploy", "check"]]
    assert ("goes on" in capsys.readouterr().err) == (code == 130)
