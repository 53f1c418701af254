"""`protege-deploy`, command by command."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from protege.deploy import __version__
from protege.deploy.cli.main import main


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_help_and_version_need_click_alone() -> None:
    program = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnxruntime", "mujoco"} or name.startswith("protege.core"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Refuse())
from protege.deploy.cli.main import main
main()
"""

    def alone(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True)

    assert alone("--help").stdout.startswith("Usage: ")
    assert __version__ in alone("--version").stdout
    for command in ("export", "check", "run", "info"):
        assert alone(command, "--help").returncode == 0
    missing = alone("run", "somewhere")
    assert missing.returncode == 2
    assert missing.stderr == 'error: mujoco is not installed. pip install "protege-deploy[cpu,mujoco]"\n'
    assert "protege-deploy[export]" in alone("export", "--checkpoint", "x", "--output", "y").stderr


def test_export_check_and_info(student: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = call("export", "--checkpoint", student, "--output", out)
    assert done.exit_code == 0 and done.output.strip() == str(out)
    done = call("check", out, "--checkpoint", student, "--num-states", 100)
    assert done.exit_code == 0 and re.match(
        r"100 states: joint targets differ by at most \d\.\de-0[67] rad", done.output
    )
    done = call("info", out)
    assert done.exit_code == 0 and "student of smpl: iteration 7, 1,234 samples; 69 joints at 30 Hz" in done.output


def test_run_reports_and_records(student: Path, exported: Path, tmp_path: Path) -> None:
    report, record = tmp_path / "sub" / "report.json", tmp_path / "states.npz"
    done = call(
        "run", exported, "--task", "steering", "--seconds", 3.5, "--fast", "--no-safety",
        "--report", report, "--record", record,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "p99" in done.output and "missed" in done.output and "walked" in done.output
    result = json.loads(report.read_text())
    assert set(result) == {
        "loop", "stood", "fell_at_s", "walked_m", "errors", "notes", "memory_mb", "dropped", "dropped_orders", "simulated_s",
        "realtime", "messages_late_ms",
    }  # fmt: skip
    assert result["loop"]["steps"] == 105 and set(result["loop"]["stages_ms"]["infer"]) == {
        "p50",
        "p95",
        "p99",
        "p99.9",
        "max",
    }
    assert set(result["errors"]) == {"steering_err"} and isinstance(result["stood"], bool)
    with np.load(record, allow_pickle=False) as states:
        assert states["joint_pos"].shape == (105, 69) and states["reset"].sum() == 1
    done = call("check", exported, "--checkpoint", student, "--states", record)
    assert done.exit_code == 0 and done.output.startswith("105 states")


@pytest.mark.parametrize(
    ("options", "metric"),
    [
        (["--task", "path", "--seed", "3"], "path_following_err"),
        (["--task", "goal"], "goal_reaching_err"),
        ([], "path"),
    ],
)
def test_run_every_task(exported: Path, options: list[str], metric: str) -> None:
    done = call("run", exported, *options, "--seconds", 0.5, "--fast", "--standing")
    assert done.exit_code == 0 and metric in done.output


def test_a_fall_ends_in_damping_and_the_report_contains_the_cause(exported: Path, tmp_path: Path) -> None:
    """The policy is untrained."""
    report = tmp_path / "report.json"
    words = ["--limit", "clipped_time=off", "--limit", "torque=off", "--report", report]
    done = call("run", exported, "--seconds", 3, "--fast", *words)
    loop = json.loads(report.read_text())["loop"]
    assert loop["event"]["cause"] == "fall" and loop["event"]["values"]["limit"] > 0.5
    assert loop["damped_steps"] == 90 - loop["event"]["step"]
    assert f"damped       step {loop['event']['step']}: the root" in done.output


def test_a_script_runs(exported: Path, tmp_path: Path) -> None:
    path, record = tmp_path / "script.json", tmp_path / "states.npz"
    path.write_text('[{"at": 0, "path": {}}, {"at": 0.1, "motion": {"clip": "smpl_humanoid_walk.npy"}}]')
    words = [
        "--commands",
        f"script:{path}",
        "--fast",
        "--seconds",
        0.3,
        "--record",
        record,
        "--rate",
        60,
        "--catch-up",
        "burst",
    ]
    done = call("run", exported, *words)
    assert done.exit_code == 0 and "deadlines    " in done.output, done.output
    with np.load(record, allow_pickle=False) as states:
        assert states["command_mask"][:, 0].tolist() == [True] * 3 + [False] * 6
        assert states["pose_mask"].all(axis=(1, 2)).tolist() == [False] * 3 + [True] * 6


def test_errors_are_one_line_and_exit_code_two(student: Path, exported: Path, tmp_path: Path) -> None:
    (tmp_path / "states.npz").write_text("no zip")
    np.savez(tmp_path / "few.npz", joint_pos=np.zeros((3, 69), np.float32))
    blocked = tmp_path / "states.npz" / "report.json"
    for words, message in [
        (["info", tmp_path], "policy.json does not exist"),
        (["run", tmp_path], "policy.json does not exist"),
        (["run", exported, "--provider", "abacus"], "unknown provider"),
        (["run", exported, "--limit", "tork=1"], "unknown limit 'tork'. Did you mean torque?"),
        (["run", exported, "--core", "100000"], "this process cannot run on core 100000"),
        (["run", exported, "--fifo", "1000"], "SCHED_FIFO"),
        (
            ["run", exported, "--commands", "telepathy"],
            "unknown source of commands 'telepathy'. Known: script:FILE, udp",
        ),
        (["run", exported, "--commands", "udp:no"], "--commands: 'no' is no address. Give PORT or HOST:PORT"),
        (["run", exported, "--robot", "atlas"], "unknown robot 'atlas'. Known: mujoco, udp:PORT"),
        (["run", exported, "--robot", "udp:70000"], "--robot: '70000' is no address"),
        (["run", exported, "--robot", "udp:47999", "--fast"], "a robot process runs in real time"),
        (["run", exported, "--commands", "script:x", "--task", "path"], "--commands script does not go with --task"),
        (["run", exported, "--commands", f"script:{tmp_path}/x"], "cannot read"),
        (["run", exported, "--seconds", "0.1", "--fast", "--report", blocked], "cannot write"),
        (["export", "--checkpoint", tmp_path, "--output", tmp_path / "out"], "no checkpoint at"),
        (["check", exported, "--checkpoint", student, "--states", tmp_path / "states.npz"], "not an .npz file"),
        (["check", exported, "--checkpoint", student, "--states", tmp_path / "few.npz"], "root_pos_w is missing"),
        (["check", exported, "--checkpoint", student, "--provider", "abacus"], "unknown provider 'abacus'"),
    ]:
        done = call(*words)
        assert done.exit_code == 2, done.output
        assert done.output.startswith("error: ") and done.output.count("\n") == 1
        assert message in done.output
    assert not (tmp_path / "out").exists()
