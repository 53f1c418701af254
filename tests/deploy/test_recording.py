"""Recorded runs: whole, without pickles, replayed to the bit, compared, drawn."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import DT, FakePolicy, FakeRobot, metadata, nothing
from waiting import until

import protege.deploy.loop.recording as recording_module
import protege.deploy.loop.spool as spool_module
from protege.core.cli.umbrella import main as umbrella
from protege.core.motions import load_clip
from protege.deploy.cli.main import main
from protege.deploy.errors import DeployError
from protege.deploy.interface import Command, RobotReading
from protege.deploy.loop.comparison import compare
from protege.deploy.loop.loop import ControlLoop
from protege.deploy.loop.recorder import Recorder
from protege.deploy.loop.recording import Recording, load, own_columns, save
from protege.deploy.policy.metadata import load as load_metadata
from protege.deploy.safety.limits import Limits
from protege.deploy.safety.safety import Safety
from protege.sim.robots import get_robot

FACTS = {"format": 1, "joint_names": ["knee", "hip"], "robot": "fake"}


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def runs(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Half a second of several kinds, recorded."""
    folder = tmp_path_factory.mktemp("runs")
    files = {
        "path": folder / "path.npz",
        "again": folder / "again.safetensors",
        "mix": folder / "mix.npz",
        "fall": folder / "fall.npz",
    }
    script = folder / "mix.json"
    script.write_text(json.dumps([
        {"at": 0, "goal": {"point": [1, 0]}, "motion": {"clip": "smpl_humanoid_walk.npy", "bodies": ["Head"]}},
        {"at": 0.2, "steering": {"direction": 30}, "path": {}},
        {"at": 0.3, "motion": {"clip": "smpl_humanoid_run.npy"}},
    ]))  # fmt: skip
    for name, options in {
        "path": ["--task", "path", "--seconds", 0.5, "--no-safety"],
        "again": ["--task", "path", "--seconds", 0.5, "--no-safety"],
        "mix": ["--commands", f"script:{script}", "--seconds", 0.5, "--no-safety"],
        "fall": ["--task", "path", "--seconds", 2, "--limit", "clipped_time=off", "--limit", "torque=off"],
    }.items():
        done = call("run", exported, "--fast", *options, "--record", files[name])
        assert done.exit_code == 0, done.output
    return files


# What is in it ----------------------------------------------------------------------------------------------------------


def test_a_recording_contains_inputs_outputs_times_and_facts(runs: dict[str, Path], exported: Path) -> None:
    recording, described = load(runs["path"]), load_metadata(exported)
    assert recording.steps == recording.policy_steps == 15
    assert set(recording.columns) == {spec.name for spec in described.inputs} | {name for name, *_ in own_columns(69)}
    for spec in described.inputs:
        assert (
            recording.columns[spec.name].shape == (15, *spec.shape) and recording.columns[spec.name].dtype == spec.dtype
        )
    np.testing.assert_allclose(recording.columns["time"], np.arange(15) / 30.0)
    assert (np.diff(recording.columns["clock"]) > 0.0).all() and (recording.columns["spent"] >= 0.0).all()
    assert (recording.columns["mode"] == 0).all() and recording.columns["command_mask"].tolist() == [
        [True, False, False]
    ] * 15
    np.testing.assert_array_equal(recording.columns["written_target"], recording.columns["joint_target"])
    facts = recording.facts
    assert facts["joint_names"] == described.joint_names and facts["model_sha256"] == described.model_sha256
    assert facts["event"] is None and facts["stages"] == ["wake", "read", "command", "infer", "check", "write"]


def test_both_formats_contain_the_same(runs: dict[str, Path]) -> None:
    first, second = load(runs["path"]), load(runs["again"])
    assert first.columns.keys() == second.columns.keys() and first.facts == second.facts
    for name in set(first.columns) - {"clock", "spent"}:
        np.testing.assert_array_equal(first.columns[name], second.columns[name])
        assert first.columns[name].dtype == second.columns[name].dtype


def test_a_fall_is_recorded_with_its_cause(runs: dict[str, Path]) -> None:
    recording = load(runs["fall"])
    event = recording.facts["event"]
    assert event["cause"] == "fall" and recording.policy_steps == event["step"] < recording.steps == 60
    modes = recording.columns["mode"]
    assert (modes[: event["step"]] == 0).all() and (modes[event["step"] :] == 1).all()
    damped = slice(event["step"], None)
    assert np.isnan(recording.columns["joint_target"][damped]).all()
    np.testing.assert_array_equal(recording.columns["written_target"][damped], recording.columns["joint_pos"][damped])
    assert not recording.columns["command_mask"][damped].any()


def test_rows_are_written_to_the_disk_during_the_run(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "run.npz"
    recorder = Recorder(path, metadata())
    counts = ("_inputs", "_steps")
    before = {name: value for name, value in vars(recorder).items() if name not in counts}
    with recorder:
        ControlLoop(FakePolicy(), FakeRobot(), nothing, DT, realtime=False, on_step=recorder).run(20_000)
        until(lambda: (tmp_path / "sub" / ".run.npz.spool").stat().st_size > 2_000_000, "no rows are written")
        assert not path.exists()
        assert {name: value for name, value in vars(recorder).items() if name not in counts} == before
        assert recorder._steps == 20_000
    assert load(path).steps == 20_000 and [file.name for file in path.parent.iterdir()] == ["run.npz"]


def test_the_steps_before_an_error_are_saved(tmp_path: Path) -> None:
    def source(time: float, reading: RobotReading) -> Command:
        return Command(steering_speed=1.0 / (7 - round(time / DT)))

    with pytest.raises(ZeroDivisionError), Recorder(tmp_path / "run.npz", metadata()) as recorder:
        ControlLoop(FakePolicy(), FakeRobot(), source, DT, realtime=False, on_step=recorder).run(20)
    assert load(tmp_path / "run.npz").steps == 7


def test_a_full_disk_ends_the_recording_and_not_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "run.npz", metadata()) as recorder:
        writes, file = [], recorder._spool._file

        class Full:
            def write(self, data: bytes) -> int:
                writes.append(data)
                if len(writes) > 5:
                    raise OSError(28, "No space left on device")
                return file.write(data)

            def close(self) -> None:
                file.close()

        recorder._spool._file = Full()  # pyright: ignore[reportAttributeAccessIssue]
        report = ControlLoop(FakePolicy(), FakeRobot(), nothing, DT, realtime=False, on_step=recorder).run(9)
    recording = load(tmp_path / "run.npz")
    assert recorder.problem is not None and recorder.problem.exit_code == 2
    assert recorder.problem.message == (
        f"{tmp_path / 'run.npz'} holds 5 of 9 steps (No space left on device). Make room and run again, or record to another disk"
    )
    assert report.steps == 9 and recording.steps == 5 and recording.facts["cut_short"] == "No space left on device"
    assert [record.getMessage() for record in caplog.records] == [
        f"recording to {tmp_path / 'run.npz'} ends here: No space left on device"
    ]


class SlowFile:
    """A file on a disk that takes 0.3 s for each row."""

    def __init__(self, file: Any) -> None:
        self.file, self.close = file, file.close

    def write(self, data: bytes) -> int:
        time.sleep(0.3)
        return self.file.write(data)


def test_a_slow_disk_delays_the_recording_and_not_the_loop(tmp_path: Path) -> None:
    with Recorder(tmp_path / "run.npz", metadata()) as recorder:
        recorder._spool._file = SlowFile(recorder._spool._file)  # pyright: ignore[reportAttributeAccessIssue]
        safety = Safety(Limits.off().changed(["stall=0.25"]), metadata())
        report = ControlLoop(FakePolicy(), FakeRobot(), nothing, DT, safety=safety, on_step=recorder).run(9)
    assert report.event is None and report.seconds < 9 * 0.3 / 2.0
    assert recorder.problem is None and load(tmp_path / "run.npz").steps == 9


def test_a_disk_that_is_much_too_slow_ends_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MAX_WAITING_BYTES", 1000)  # of rows of about 190 bytes
    with Recorder(tmp_path / "run.npz", metadata()) as recorder:
        recorder._spool._file = SlowFile(recorder._spool._file)  # pyright: ignore[reportAttributeAccessIssue]
        ControlLoop(FakePolicy(), FakeRobot(), nothing, DT, realtime=False, on_step=recorder).run(30)
    saved = load(tmp_path / "run.npz").steps
    assert 1 <= saved < 30 and recorder.problem is not None
    assert f"holds {saved} of 30 steps (the disk is too slow)" in recorder.problem.message


LIMITED = """
import resource, signal, sys
from protege.deploy.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
main()
"""
"""The commands, where no file grows beyond so many bytes: writes fail as they do on a full disk."""


@pytest.mark.parametrize(("ending", "room", "saved"), [("npz", 300_000, range(35, 40)), ("safetensors", 100, range(1))])
def test_a_full_disk_saves_the_rows_that_fit_and_the_whole_report(
    ending: str, room: int, saved: range, exported: Path, tmp_path: Path
) -> None:
    """A step takes 7.6 kB, and the run 60 steps. Nothing of it is lost but the steps that find no room."""
    record, report = tmp_path / f"run.{ending}", tmp_path / "report.json"
    words = ["run", exported, "--task", "path", "--seconds", 2, "--fast", "--no-safety", "--record", record]
    words += ["--report", report] * (room > 1000)
    command = [sys.executable, "-c", LIMITED, str(room), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "\nmotion       " in done.stdout and "deadlines    " in done.stdout
    warning, error = done.stderr.splitlines()
    assert warning == f"recording to {record} ends here: File too large"
    if len(saved) > 1:
        recording = load(record)
        assert recording.steps in saved and recording.facts["cut_short"] == "File too large"
        np.testing.assert_allclose(recording.columns["time"], np.arange(recording.steps) / 30.0)
        assert error.startswith(f"error: {record} holds {recording.steps} of 60 steps (File too large). Make room")
        assert json.loads(report.read_text())["loop"]["steps"] == 60
    else:
        assert error.startswith(f"error: cannot write {record} (File too large). Make room") and not record.exists()
    assert {file.name for file in tmp_path.iterdir()} <= {record.name, report.name}


def test_a_disk_with_space_for_one_copy_saves_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The spool fills the disk: the file finds room only once the spool is gone."""
    spool, write = tmp_path / ".run.npz.spool", recording_module.write_whole

    def full(path: Path, content: Callable[[BinaryIO], object]) -> None:
        if spool.exists():
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(recording_module, "write_whole", full)
    with Recorder(tmp_path / "run.npz", metadata()) as recorder:
        ControlLoop(FakePolicy(), FakeRobot(), nothing, DT, realtime=False, on_step=recorder).run(9)
    assert recorder.problem is None and load(tmp_path / "run.npz").steps == 9
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize("name", ["SIGHUP", "SIGTERM", "SIGINT"])
def test_a_signal_ends_a_run_cleanly(name: str, exported: Path, tmp_path: Path) -> None:
    record, report = tmp_path / "run.npz", tmp_path / "report.json"
    words = ["run", exported, "--seconds", 600, "--no-safety", "--record", record, "--report", report]
    program = f"import signal; signal.signal(signal.{name}, signal.SIG_DFL)\n"  # whoever runs the tests may ignore it
    program += "from protege.deploy.cli.main import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)], stdout=subprocess.PIPE, text=True
    ) as running:
        spool, end = tmp_path / ".run.npz.spool", time.monotonic() + 60.0
        while not spool.exists():
            assert time.monotonic() < end and running.poll() is None, "it does not record"
            time.sleep(0.05)
        time.sleep(0.5)  # into the loop
        running.send_signal(getattr(signal, name))
        output, _ = running.communicate(timeout=60.0)
    assert running.returncode == 0 and "\nmotion       " in output
    steps = json.loads(report.read_text())["loop"]["steps"]
    assert load(record).steps == steps > 0


# What is none -----------------------------------------------------------------------------------------------------------


def columns(steps: int = 4) -> dict[str, np.ndarray]:
    made = {name: np.zeros((steps, *shape), kind) for name, kind, shape in own_columns(2)}
    made |= {"root_pos_w": np.zeros((steps, 3), np.float32), "root_quat_w": np.zeros((steps, 4), np.float32)}
    return made | {name: np.zeros((steps, 2), np.float32) for name in ("joint_pos", "joint_vel")}


def test_invalid_recordings_are_reported(tmp_path: Path) -> None:
    save(tmp_path / "whole.npz", columns(), FACTS)
    save(tmp_path / "whole.safetensors", columns(), FACTS)
    whole = {ending: (tmp_path / f"whole{ending}").read_bytes() for ending in (".npz", ".safetensors")}
    few = columns()
    del few["mode"]
    uneven = {**columns(), "path_w": np.zeros((3, 10, 2))}
    contents = {
        "cut.npz": (whole[".npz"][:-100], "is not a whole recording"),
        "cut.safetensors": (whole[".safetensors"][:-10], "is not a whole recording"),
        "text.npz": (b"no zip", "is not a whole recording"),
        "text.safetensors": (b"no tensors", "is not a whole recording"),
        "empty.npz": (b"", "is not a whole recording"),
        "newer.npz": ((columns(), {**FACTS, "format": 2}), "its format is 2, this is 1"),
        "few.npz": ((few, FACTS), "is not a whole recording"),
        "other.npz": ((columns(), {**FACTS, "joint_names": ["knee"]}), "has shape (4, 2), not (4, 1)"),
        "uneven.safetensors": ((uneven, FACTS), "path_w has another length than time"),
        "none.npz": ((columns(0), FACTS), "it holds no step"),
        "list.npz": ((columns(), [1]), "is not a whole recording"),
    }
    for name, (content, message) in contents.items():
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            save(path, *content)
        done = call("compare", path, tmp_path / "whole.npz")
        assert done.exit_code == 2 and done.output.startswith(f"error: {path}") and message in done.output, done.output
        assert done.output.count("\n") == 1
    np.savez(tmp_path / "pickled.npz", time=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DeployError, match="is not a whole recording"):
        load(tmp_path / "pickled.npz")
    with pytest.raises(DeployError, match=r"nowhere\.npz does not exist"):
        load(tmp_path / "nowhere.npz")


def test_an_impossible_path_is_reported_before_the_run(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path, message in [
        ("run.csv", "is no recording. End it with .npz or .safetensors"),
        ("file/run.npz", "cannot write"),
    ]:
        done = call("run", exported, "--fast", "--record", tmp_path / path)
        assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


# Replay, compare, clip --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["path", "again", "mix", "fall"])
def test_a_replay_gives_the_same_targets(name: str, runs: dict[str, Path], exported: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = call("replay", runs[name], exported, "--report", report)
    assert done.exit_code == 0, done.output
    found = json.loads(report.read_text())
    assert (
        found["max_target"] == 0.0 and found["first_step"] is None and found["steps"] == load(runs[name]).policy_steps
    )
    assert "first above  1e-05 rad: none" in done.output


def test_a_replay_reports_where_targets_differ(runs: dict[str, Path], exported: Path, tmp_path: Path) -> None:
    recording = load(runs["path"])
    answers = recording.columns["joint_target"].copy()
    answers[7:, 3] += 0.25
    save(tmp_path / "other.npz", {**recording.columns, "joint_target": answers}, recording.facts)
    done = call("replay", tmp_path / "other.npz", exported)
    joint = recording.facts["joint_names"][3]
    assert f"first above  1e-05 rad: step 7, {joint}" in done.output and "2.5e-01 at most" in done.output


def test_another_robot_or_a_recording_without_targets_is_reported(
    runs: dict[str, Path], exported: Path, tmp_path: Path
) -> None:
    save(tmp_path / "fake.npz", columns(), FACTS)
    done = call("replay", tmp_path / "fake.npz", exported)
    assert done.exit_code == 2 and "is of a robot with 2 joints, the policy drives 69" in done.output
    silent = {**columns(), "joint_target": np.full((4, 2), np.nan, np.float32)}
    save(tmp_path / "silent.npz", silent, FACTS)
    done = call("replay", tmp_path / "silent.npz", exported)
    assert done.exit_code == 2 and "the policy did not act in any step" in done.output
    done = call("compare", tmp_path / "fake.npz", runs["path"])
    assert done.exit_code == 2 and "are of robots with other joints" in done.output


def test_a_comparison_by_hand(tmp_path: Path) -> None:
    a, b = columns(4), columns(6)
    b["written_target"][2:, 1] = 0.5
    b["root_pos_w"][3] = [3.0, 4.0, 0.0]
    first, second = (Recording(tmp_path, FACTS, run) for run in (a, b))
    found = compare(first, second, 1e-5)
    assert (found.steps, found.first_step, found.first_joint, found.max_target) == (4, 2, "hip", 0.5)
    assert found.mean_target == pytest.approx(0.5 * 2 / 8)
    assert (found.mean_root, found.max_root) == (1.25, 5.0)
    assert compare(first, first, 0.0).first_step is None


def test_two_runs_are_compared(runs: dict[str, Path]) -> None:
    same = call("compare", runs["path"], runs["again"])
    assert same.exit_code == 0 and "root         differs by 0.0000 m on average, 0.0000 at most" in same.output
    other = call("compare", runs["path"], runs["mix"])
    assert "first above  1e-05 rad: step 0" in other.output


def test_a_run_becomes_a_clip_and_a_film(runs: dict[str, Path], tmp_path: Path) -> None:
    path, film = tmp_path / "run.npy", tmp_path / "run.mp4"
    done = call("clip", runs["path"], "--output", path)
    assert done.exit_code == 0 and done.output == f"{path}  15 frames\n"
    clip, recording = load_clip(path, get_robot("smpl")), load(runs["path"])
    np.testing.assert_allclose(clip.joint_pos, recording.columns["joint_pos"], atol=1e-6)
    np.testing.assert_allclose(clip.root_pos_w, recording.columns["root_pos_w"], atol=1e-6)
    words = ["sim", "motions", "play", str(path), "--output", str(film), "--fps", "10", "--size", "160x120"]
    assert CliRunner().invoke(umbrella, words).exit_code == 0 and film.stat().st_size > 500
