"""Runs in real processes that are killed and restarted; see `killed_runs.py`, which can do more of this."""

import subprocess
import sys
from pathlib import Path


def test_a_run_that_is_killed_repeatedly_equals_an_uninterrupted_one(tmp_path):
    script = Path(__file__).with_name("killed_runs.py")
    command = [sys.executable, str(script), str(tmp_path / "runs"), "--kills", "4", "--seed", "3"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    *rounds, last = result.stdout.splitlines()
    assert [line.partition(":")[0].split(", ")[-2] for line in rounds] == [
        "SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"
    ]  # fmt: skip
    assert "two at once" in rounds[1]
    assert last.startswith("4 kills:") and last.endswith("equal to those of a run that was never killed")
