"""MPS for processes that share a GPU, with a stand-in for NVIDIA's program. Trainings on one H200 were run through the real one."""

import sys
from pathlib import Path

import pytest

from protege.core.runs import mps, pipeline
from protege.core.runs.steps import Step

STAND_IN = """#!/bin/sh
echo "options=$* gpu=$CUDA_VISIBLE_DEVICES folder=$CUDA_MPS_PIPE_DIRECTORY text=$(cat)" >> {record}
exit {code}
"""


@pytest.fixture
def control(tmp_path, monkeypatch):
    """Installs a stand-in that ends with a code. Returns a function that installs it and one that reads its calls."""
    record, programs = tmp_path / "calls", tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.delenv(mps.PIPES, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    monkeypatch.setattr(mps, "DEFAULT_PIPES", tmp_path / "nobody")
    monkeypatch.setattr(mps, "PROBE", "import os; assert os.environ['CUDA_VISIBLE_DEVICES'] == '0'")

    def install(code: int = 0) -> None:
        (programs / mps.CONTROL).write_text(STAND_IN.format(record=record, code=code))
        (programs / mps.CONTROL).chmod(0o755)

    def calls() -> list[str]:
        return record.read_text().splitlines() if record.exists() else []

    return install, calls


def test_processes_connect_to_a_server_on_the_first_visible_gpu(control):
    install, calls = control
    install()
    with mps.shared_gpu() as variables:
        folder = variables[mps.PIPES]
        assert Path(folder).is_dir()
        assert variables == {mps.PIPES: folder, mps.LOGS: folder, "CUDA_VISIBLE_DEVICES": "0"}
        assert calls() == [f"options=-d gpu=3 folder={folder} text="]
    assert calls()[1:] == [f"options= gpu=3,1 folder={folder} text=quit"]
    assert not Path(folder).exists()


def test_the_server_ends_if_the_work_fails(control):
    install, calls = control
    install()
    with pytest.raises(RuntimeError), mps.shared_gpu():
        raise RuntimeError
    assert calls()[-1].endswith("text=quit")


def test_nothing_is_shared_through_a_server_that_no_process_reaches(control, monkeypatch):
    install, calls = control
    install()
    monkeypatch.setattr(mps, "PROBE", "raise SystemExit(1)")
    with mps.shared_gpu() as variables:
        assert variables == {}
    assert calls()[-1].endswith("text=quit")


def test_nothing_is_shared_if_the_server_does_not_start(control):
    install, calls = control
    install(code=1)
    with mps.shared_gpu() as variables:
        assert variables == {}
    assert len(calls()) == 1


def test_nothing_is_started_without_the_program(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with mps.shared_gpu() as variables:
        assert variables == {}


@pytest.mark.parametrize("how", ["variable", "default"])
def test_a_running_server_is_left_alone(control, monkeypatch, tmp_path, how):
    install, calls = control
    install()
    if how == "variable":
        monkeypatch.setenv(mps.PIPES, str(tmp_path))
    else:
        (tmp_path / "control").touch()
        monkeypatch.setattr(mps, "DEFAULT_PIPES", tmp_path)
    with mps.shared_gpu() as variables:
        assert variables == {} and calls() == []


@pytest.mark.parametrize(("gpus", "shared"), [((None, None), True), ((0, 1), False)])
def test_a_pipeline_shares_one_gpu_but_not_several(control, monkeypatch, tmp_path, gpus, shared):
    install, calls = control
    install()
    program = f"import os; open(r'{tmp_path}/' + os.environ['CUDA_VISIBLE_DEVICES'], 'w')"
    monkeypatch.setattr(pipeline, "_words", lambda step: [sys.executable, "-c", program])
    steps = [Step(name, [], gpu=gpu) for name, gpu in zip("ab", gpus, strict=True)]
    assert pipeline._run(steps) == ([0, 0], False)
    assert (len(calls()) == 2) == shared
    assert (tmp_path / "0").exists() == shared and (tmp_path / "3").exists() != shared
