"""The default number of threads, and how idle threads wait."""

import os
import subprocess
import sys

import pytest

from protege.core import threads
from protege.core.threads import available_cores, limited, torch_threads


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [("max 100000\n", 64), ("1600000 100000\n", 16), ("250000 100000", 3), ("5000 100000", 1), ("9000000 100000", 64)],
)
def test_a_containers_limit_is_respected(cpu_max: str, cores: int) -> None:
    assert limited(64, cpu_max) == cores


def test_a_process_bound_to_one_core_has_one() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    program += "from protege.core.threads import available_cores; print(available_cores())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "1\n"


def test_without_a_limit_all_cores_are_available(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(threads, "CPU_LIMIT", tmp_path / "none")
    assert available_cores() == len(os.sched_getaffinity(0))


def test_torch_uses_at_most_eight_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "available_cores", lambda: 128)
    assert (torch_threads(0), torch_threads(3), torch_threads(32)) == (8, 3, 32)
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    assert torch_threads(0) == 2


@pytest.mark.parametrize(("before", "after"), [(None, "passive"), ("active", "active")])
def test_importing_core_makes_idle_threads_wait_passively(before: str | None, after: str) -> None:
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    env |= {} if before is None else {"OMP_WAIT_POLICY": before}
    program = "import sys, protege.core.motions, os; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env)
    assert done.stdout == f"{after}\n", done.stderr
