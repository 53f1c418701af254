"""The pipeline: what a run learned by hand, and going on where it stopped. No step is carried out here."""

import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from tiny_runs import TINY, TRACKER, protege

from protege.core.errors import UserError
from protege.core.runs import pipeline as module
from protege.core.runs.checkpoint import load
from protege.core.runs.lock import locked
from protege.core.runs.pipeline import Learned, Step, load_steps, measured
from protege.teachers.zoo import read_index, shipped

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
        ((-3.0, -1.0), "up", 1.0, None, True),  # better, though the quotient is meaningless
        ((-1.0, -3.0), "up", 1.0, None, False),
        ((-3.0, 2.0), "up", 1.0, None, True),
        ((2.0, -3.0), "down", 1.0, None, True),
        ((-2.0, -10.0), "up", 3.0, None, False),  # 5 times as large, and worse
        ((-10.0, -2.0), "down", 3.0, None, False),
        ((-10.0, -2.0), "up", 3.0, None, False),  # better, but no number of times
        ((-10.0, 5.0), "up", 3.0, None, False),
        ((5.0, -10.0), "down", 3.0, None, False),
        ((-1.0, 0.0), "up", 3.0, None, False),
        ((2.0, float("nan")), "up", 3.0, None, False),
        ((0.0, float("nan")), "up", 1.0, None, False),
        ((0.0, 2.0), "up", 3.0, float("inf"), True),
        ((5.0, 0.0), "down", 3.0, float("inf"), True),
        ((0.0, 0.0), "up", 3.0, 1.0, False),
        ((6.0,), "up", 2.0, 1.0, False),
    ],
)
def test_what_was_learned_by_hand(tmp_path, values, direction, wanted, factor, met):
    run = write_metrics(tmp_path / "tracker", *values)
    row = measured(Learned(run, "score", direction, wanted))
    assert row["met"] is met
    assert row["factor"] is None if factor is None else row["factor"] == pytest.approx(factor)
    assert (row["first"], row["last"]) == pytest.approx((values[0], values[-1]), nan_ok=True)
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


@pytest.mark.parametrize(
    "torn", ['{"iterat', '{"iteration": 2, "score": 5', '{"iteration": 2, "score": 50.0}', "\udcc3"]
)
def test_a_torn_last_line_of_the_log_is_ignored(tmp_path, torn):
    run = write_metrics(tmp_path, 1.0, 2.0)
    with open(tmp_path / "metrics.jsonl", "a", errors="surrogateescape") as file:
        file.write(torn)
    assert measured(Learned(run, "score"))["last"] == 2.0


@pytest.mark.parametrize(
    "line", [b"{", b"", b"3", b"[]", b"null", b'{"score": "high"}', b'{"score": null}', b"\xff\xfe", b"\0"]
)
@pytest.mark.parametrize("at", [0, 2])
def test_any_other_damage_of_the_log_is_named(tmp_path, line, at):
    run = write_metrics(tmp_path, 1.0, 2.0)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:at], line, *lines[at:], b""]))
    with pytest.raises(UserError, match=rf"metrics\.jsonl is damaged in line {at + 1}\. Delete it.*--from"):
        measured(Learned(run, "score"))


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


@pytest.mark.parametrize("preset", ["laptop", "gpu"])
@pytest.mark.parametrize("name", STEPS)
def test_each_command_of_a_whole_pipeline_parses(name, preset, monkeypatch):
    # The files are those of earlier steps.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: Path(value))
    [step] = [step for step in load_steps(preset, Path("results/here")) if step.name == name]
    docs().parse(["protege", *step.command])


def test_the_gpu_pipeline_trains_on_three_clips_for_less_than_half_an_hour():
    training = [step.command for step in load_steps("gpu", Path("here")) if step.learned]
    assert len(training) == 6
    assert all(
        "run.motion_file=[" in " ".join(words) and "<robot>_humanoid_jump.npy" in " ".join(words) for words in training
    )
    assert sum(float(words[words.index("--max-time") + 1]) for words in training) <= 1500


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


def test_an_unknown_preset_is_one_line(tmp_path):
    refused(protege("pipeline", "--preset", "supercomputer", "--results-dir", tmp_path), "supercomputer")


# Going on


class Recorder:
    """Stands for `_run`: notes the steps, and stops at the one in `fails` with its exit code.

    A training leaves another last.ckpt, also with 130; with other codes it ends before its first.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.fresh: list[str] = []
        self.fails: dict[str, int] = {}
        self.checkpoints = 0

    def __call__(self, step: Step) -> None:
        self.names.append(step.name)
        if "--no-resume" in step.command:
            self.fresh.append(step.name)
        code = self.fails.pop(step.name, 0)
        for learned in step.learned if code in (0, 130) else ():
            write_metrics(Path(learned.run), 2.0, 2.0, 2.0, metric=learned.metric)
            self.checkpoints += 1
            (Path(learned.run) / "last.ckpt").write_text(f"checkpoint {self.checkpoints}")
        if code:
            raise SystemExit(code)


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
    recorder.names, recorder.fresh = [], []
    return protege("pipeline", "--results-dir", folder, *words), [*recorder.names]


def saved(folder: Path) -> dict:
    return json.loads((folder / "laptop" / "pipeline.json").read_text())


def change_command(folder: Path, name: str) -> None:
    """Let it look as if a step had been done with another command."""
    data = saved(folder)
    data["steps"][name]["command"].append("agent.learning_rate=1")
    (folder / "laptop" / "pipeline.json").write_text(json.dumps(data))


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
    change_command(tmp_path, "path_follower")
    recorder.fails = {"goal_directed": 1}
    _, names = start(tmp_path, recorder)
    assert names == STEPS[2:4]
    # What followed is not taken for done because it once was.
    _, names = start(tmp_path, recorder)
    assert names == STEPS[3:]


TRAININGS = STEPS[:6]


def test_what_is_done_for_the_first_time_or_goes_on_is_not_begun_anew(tmp_path, recorder):
    recorder.fails = {"steering": 130}
    start(tmp_path, recorder)
    assert recorder.fresh == []
    start(tmp_path, recorder)
    assert recorder.names == STEPS[4:] and recorder.fresh == []
    # A record that was deleted does not cost the trainings.
    (tmp_path / "laptop" / "pipeline.json").unlink()
    start(tmp_path, recorder)
    assert recorder.names == STEPS and recorder.fresh == []


@pytest.mark.parametrize("index", range(len(STEPS)))
@pytest.mark.parametrize("how", ["from", "changed"])
def test_trainings_that_are_done_again_are_begun_anew(tmp_path, recorder, how, index):
    start(tmp_path, recorder)
    if how == "changed":
        change_command(tmp_path, STEPS[index])
    result, names = start(tmp_path, recorder, *(["--from", STEPS[index]] if how == "from" else []))
    assert result.exit_code == 0 and names == STEPS[index:]
    assert recorder.fresh == TRAININGS[index:]
    # The record holds the preset's commands, and nothing is left to be done.
    assert not any("--no-resume" in entry["command"] for entry in saved(tmp_path)["steps"].values())
    assert saved(tmp_path)["anew"] == {}
    assert start(tmp_path, recorder)[1] == []


@pytest.mark.parametrize("code", [1, 130])
@pytest.mark.parametrize("how", ["from", "changed"])
def test_a_redo_that_stopped_is_not_forgotten(tmp_path, recorder, how, code):
    start(tmp_path, recorder)
    if how == "changed":
        change_command(tmp_path, "path_follower")
    recorder.fails = {"path_follower": code}
    start(tmp_path, recorder, *(["--from", "path_follower"] if how == "from" else []))
    assert recorder.names == ["path_follower"] == recorder.fresh
    assert list(saved(tmp_path)["steps"]) == STEPS[:2]
    # Stopped with a checkpoint of its own it goes on from that, otherwise it begins anew. What follows begins anew.
    recorder.fails = {"goal_directed": 1}
    start(tmp_path, recorder)
    assert recorder.names == STEPS[2:4]
    assert recorder.fresh == (["goal_directed"] if code == 130 else STEPS[2:4])
    start(tmp_path, recorder)
    assert recorder.names == STEPS[3:] and recorder.fresh == TRAININGS[3:]


def test_a_redo_in_progress_can_be_done_again(tmp_path, recorder):
    start(tmp_path, recorder)
    for _ in range(2):
        recorder.fails = {"student": 130}
        start(tmp_path, recorder, "--from", "student")
        assert recorder.names == recorder.fresh == ["student"]
    start(tmp_path, recorder, "--from", "tracker")
    assert recorder.fresh == TRAININGS


def test_a_redo_after_a_step_that_is_not_done_yet(tmp_path, recorder):
    start(tmp_path, recorder)
    recorder.fails = {"goal_directed": 130}
    start(tmp_path, recorder, "--from", "goal_directed")
    start(tmp_path, recorder, "--from", "student")
    assert recorder.names == STEPS[3:] and recorder.fresh == ["steering", "student"]


def test_what_follows_a_step_that_was_never_done_is_begun_anew(tmp_path, recorder):
    start(tmp_path, recorder)
    data = saved(tmp_path)
    del data["steps"]["steering"]  # a step that an older preset lacked
    (tmp_path / "laptop" / "pipeline.json").write_text(json.dumps(data))
    start(tmp_path, recorder)
    assert recorder.names == STEPS[4:] and recorder.fresh == ["student"]


def test_a_training_that_is_done_again_starts_from_scratch_with_its_new_config(tmp_path, monkeypatch):
    config = tmp_path / "config.yaml"
    where = ["--results-dir", str(tmp_path), "--experiment-name", "tracker", "--config", str(config)]
    step = Step("tracker", ["core", "train", TRACKER, *where, *TINY, "run.max_iterations=2"])
    monkeypatch.setattr(module, "load_steps", lambda preset, root, robot: [step])

    def run(step: Step) -> None:
        result = protege(*step.command)
        assert result.exit_code == 0, result.output

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


def test_an_unknown_step_is_one_line_that_names_the_steps(tmp_path, recorder):
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
def test_a_damaged_record_is_one_line(tmp_path, recorder, text, words):
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


def test_the_summary_shows_no_factor_of_negative_values(tmp_path, recorder):
    start(tmp_path, recorder)
    write_metrics(tmp_path / "laptop" / "steering", -10.0, -2.0, metric="episode/return")
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == []
    [line] = [line for line in result.output.splitlines() if "steering" in line and "episode" in line]
    assert line.split()[2:] == ["-10", "-2", "-", "better", "✓"]


@pytest.mark.parametrize("code", [0, 2, 130])
def test_a_steps_exit_code_is_passed_on(monkeypatch, capsys, code):
    # Any program will do for `python -m protege.core.cli.umbrella`.
    started = []
    run_child = module.run_child

    def fake(words: list[str]):
        started.append(words)
        return run_child([sys.executable, "-S", "-c", f"raise SystemExit({code})"])

    monkeypatch.setattr(module, "run_child", fake)
    if code:
        with pytest.raises(SystemExit) as stopped:
            module._run(Step("check", ["deploy", "check"]))
        assert stopped.value.code == code
    else:
        assert module._run(Step("check", ["deploy", "check"])) is False
    assert started == [[sys.executable, "-m", "protege.core.cli.umbrella", "deploy", "check"]]
    assert ("goes on" in capsys.readouterr().err) == (code == 130)


def test_a_pipeline_that_was_told_to_stop_begins_no_other_step(tmp_path, recorder, monkeypatch):
    monkeypatch.setattr(module, "_run", lambda step: recorder(step) or step.name == "path_follower")
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 130 and names == STEPS[:3] and list(saved(tmp_path)["steps"]) == STEPS[:3]
    result, names = start(tmp_path, recorder)
    assert result.exit_code == 0 and names == STEPS[3:]


def test_a_second_pipeline_in_the_same_folder_is_refused(tmp_path, recorder):
    with locked(tmp_path / "laptop"):
        result, names = start(tmp_path, recorder)
    refused(result, str(tmp_path / "laptop"), f"is in use by process {os.getpid()} on ", f"kill {os.getpid()}")
    assert names == [] and list(tmp_path.iterdir()) == []


def test_a_record_that_a_killed_pipeline_was_writing_is_removed(tmp_path, recorder):
    start(tmp_path, recorder)
    (tmp_path / "laptop" / ".pipeline.json.abcd1234").write_text("{")
    start(tmp_path, recorder)
    assert list((tmp_path / "laptop").glob(".*")) == []
