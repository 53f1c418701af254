"""Values that once crashed or hung a command: each is one error line of the real command line."""

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_runs import TINY, TRACKER, protege, train

from protege.core import memory, terminal
from protege.core.errors import UserError
from protege.core.memory import available, require
from protege.core.runs.checkpoint import load, save
from protege.core.runs.config import RunConfig
from protege.core.runs.devices import usable_device
from protege.sim.env_config import EnvConfig
from protege.sim.footprint import plan_bytes
from protege.sim.robots import get_robot


def fails(*words: object) -> str:
    """Run a command that must fail with exit code 2 and one line on stderr. Returns the line."""
    result = protege(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("error: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["env.goal_params.distance=[1e9,1e9]"],
            "env.goal_params.distance[0] is 1000000000.0. Take 1000000 or less",
        ),
        (
            ["env.goal_params.distance=[1,1000]"],
            "env.goal_params.distance is [1.0, 1000.0]: at env.goal_params.approach_speed=0.8 that takes more than 600 s, "
            "the longest episode. Take 478.4 m or less",
        ),
        (["run.num_threads=100000"], "run.num_threads is 100000. Take 1024 or less"),
        (["--seed", "18446744073709551616"], "run.seed is 18446744073709551616. Take 4294967295 or less"),
        (["--seed", "4294967296"], "run.seed is 4294967296. Take 4294967295 or less"),
        (["--seed", "-1"], "run.seed is -1. Take 0 or more"),
        (["run.device=banana"], "run.device is 'banana'. Take auto, cpu, cuda or, of several GPUs, cuda:1"),
        (["run.device=mps"], "run.device is 'mps'"),
        (["run.device=meta"], "run.device is 'meta'"),
        (["run.device=cuda:9"], "run.device is cuda:9, but torch sees no GPU"),
        (["--max-time", "inf"], "run.max_time is inf. Take a finite number"),
        (["env.episode_length_s=.inf"], "env.episode_length_s is inf. Take a finite number"),
        (["--experiment-name", "../y"], "run.experiment_name is '../y'. Use letters, digits"),
        (["--experiment-name", "a/b"], "run.experiment_name is 'a/b'"),
        (["--experiment-name", "/tmp/y"], "run.experiment_name is '/tmp/y'"),
        (["run.robot=${oc.env:HOME}"], "${...} is not filled in. Write the value out"),
        (["run.robot=[red]smpl"], "run.robot: '[red]smpl' is not YAML"),
        (["--robot", "[red]smpl"], "no robot '[red]smpl'"),
        (["--robot", "a\nb"], "no robot 'a\\nb'"),
        (["--motion-file", "[red].npy"], "no file matches [red].npy"),
        (["model.num_layers=64", "model.latent_dim=8192"], "million weights. Take fewer or smaller layers"),
    ],
)
def test_an_invalid_value_is_one_error_line(tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    where = ["--results-dir", tmp_path / "results", "--experiment-name", "a"]
    assert message in fails("core", "train", TRACKER, *where, *TINY, *words)
    assert list(tmp_path.iterdir()) == []


def test_an_option_of_evaluate_is_checked_like_a_config(tiny_tracker):
    where = ["evaluate", "--checkpoint", tiny_tracker, "--num-episodes", 1]
    assert "run.seed is 4294967296" in fails(*where, "--seed", 2**32)
    assert "run.device is 'banana'" in fails(*where, "--device", "banana")


def test_the_pipeline_stays_in_its_folder(tmp_path):
    line = fails("pipeline", "--results-dir", tmp_path / "results", "--experiment-name", "../y", "--list")
    assert line.startswith("--experiment-name is '../y'. Use letters, digits")


def test_a_device_that_the_machine_does_not_have_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [usable_device(x, "--device") for x in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda", "cuda:1"]
    with pytest.raises(
        UserError, match=r"--device is cuda:9, but the last GPU that torch sees is cuda:1\. Take --device=cuda:1"
    ):
        usable_device("cuda:9", "--device")
    assert RunConfig(device="cuda:1").torch_device() == "cuda:1"


def test_the_guides_notation_selects_a_clip(tmp_path):
    folder = train(TRACKER, tmp_path, "a", "+motion_file=data/motions/smpl_humanoid_run.npy", "run.max_iterations=1")
    assert load(folder).config["run"]["motion_file"] == ["data/motions/smpl_humanoid_run.npy"]


# Text ---------------------------------------------------------------------------------------------------------------------


def test_brackets_and_colons_in_names_are_printed_literally():
    console = terminal.console(file=io.StringIO(), width=80)
    console.print("[red]a[/red] [/] :smile: \\[b]")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "[red]a[/red] [/] :smile: \\[b]\n"


def test_an_ascii_terminal_gets_one_error_line_too(tmp_path):
    """é, ✓ and ° in ASCII: a real process with such a terminal."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    words = [
        "core",
        "train",
        TRACKER,
        "--results-dir",
        str(tmp_path),
        "--experiment-name",
        "a",
        "--motion-file",
        "é✓°.npy",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "protege.core.cli.umbrella", *words], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: no clip at ")
    assert done.stderr.count("\n") == 1
    done = subprocess.run(
        [sys.executable, "-c", "from protege.deploy.cli.main import main; main()", "info", "é✓°"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_characters_outside_the_encoding_of_stdout_become_question_marks(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.print_anything()
    Console(file=stream).print("✓ é", highlight=False)
    stream.flush()
    assert stream.buffer.getvalue() == b"? ?\n"  # type: ignore[attr-defined]


# Memory -------------------------------------------------------------------------------------------------------------------


def test_free_memory_is_the_smaller_of_the_machines_and_the_containers(tmp_path, monkeypatch):
    (tmp_path / "meminfo").write_text("MemTotal: 16 kB\nMemAvailable:       8 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert available() == 8192.0
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert available() == 8192.0
    (tmp_path / "memory.max").write_text("5000\n")
    assert available() == 4000.0
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "nowhere")
    (tmp_path / "memory.max").unlink()
    assert available() == float("inf")


def test_an_error_about_memory_names_the_number_that_fits(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10.5e9)
    require(1e9, 10, "ten", "Take {}")
    with pytest.raises(UserError, match=r"^eleven take 11\.0 GB of memory, 10\.5 GB are free\. Take 10 of them$"):
        require(1e9, 11, "eleven", "Take {} of them")
    with pytest.raises(UserError, match=r"take 12\.0 GB .* Take 8$"):
        require(1e9, 10, "ten", "Take {}", fixed=2e9)


def test_more_environments_than_fit_are_refused_before_they_are_built(tmp_path, monkeypatch):
    """0.9 MB each: of 20 000, 18 GB, 8888 fit into 8 GB."""
    monkeypatch.setattr(memory, "available", lambda: 8e9)
    words = ["core", "train", TRACKER, "--results-dir", tmp_path, "--experiment-name", "a", *TINY]
    line = fails(*words, "env.num_envs=20000")
    assert line == (
        "20000 environments of mujoco take 18.0 GB of memory, 8.0 GB are free. Take 8888 or fewer: --num-envs"
    )


def test_memory_of_plans_by_hand():
    """SMPL: 4 bytes for 13 numbers of 24 bodies and 2 of 69 joints, 1800; 30 frames a second, twice."""
    robot = get_robot("smpl")
    assert plan_bytes(robot, EnvConfig(task_mix={"track": 1.0})) == 0.0
    assert plan_bytes(robot, EnvConfig(task_mix={"path": 1.0, "goal": 0.0})) == pytest.approx(2 * 1800 * 10 * 30)
    assert plan_bytes(robot, EnvConfig(task_mix={"goal": 1.0})) == pytest.approx(2 * 1800 * 7 * 30)


# Other files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["truncated", "empty", "npy", "garbage"])
def test_a_damaged_npz_of_an_evaluation_is_named(tmp_path, how):
    np.savez(tmp_path / "evaluation.npz", a=np.arange(1000))
    data = (tmp_path / "evaluation.npz").read_bytes()
    contents = {"truncated": data[:300], "empty": b"", "garbage": data[:400] + bytes(400) + data[800:]}
    if how == "npy":
        with (tmp_path / "evaluation.npz").open("wb") as file:
            np.save(file, np.arange(3))
    else:
        (tmp_path / "evaluation.npz").write_bytes(contents[how])
    (tmp_path / "evaluation.json").write_text("{}")
    line = fails("distill", "report", tmp_path)
    assert line.startswith(f"{tmp_path}: evaluation.json or evaluation.npz is damaged. Evaluate again")


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_does_not_run(tmp_path):
    mark = tmp_path / "ran"
    torch.save({"format": 1, "model": Evil(mark)}, tmp_path / "evil.ckpt")
    torch.save({"format": 1, "model": Evil(mark)}, tmp_path / "legacy.ckpt", _use_new_zipfile_serialization=False)
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    touch = f"cposix\nmkdir\n(V{mark}\ntR."  # pickle's protocol 0: call os.mkdir
    (tmp_path / "evil.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + f"{header}{touch}".encode()
    )
    for name in ("evil.ckpt", "legacy.ckpt"):
        line = fails("evaluate", "--checkpoint", tmp_path / name)
        assert line.startswith(f"{tmp_path / name} is ")
    where = ["--results-dir", tmp_path / "r", "--experiment-name", "a", *TINY]
    assert "evil.npy" in fails("core", "train", TRACKER, *where, "--motion-file", tmp_path / "evil.npy")
    assert not mark.exists()


# Experts ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_frames(tmp_path_factory) -> Path:
    """A tiny tracker that sees two future frames instead of four."""
    return train(TRACKER, tmp_path_factory.mktemp("other"), "two", "future_frames=[1,4]", "run.max_iterations=1")


def test_an_expert_that_observes_differently_is_refused_by_its_key(other_frames, tmp_path):
    words = ["core", "train", "masked_mimic/path_follower", "--results-dir", tmp_path, "--experiment-name", "a"]
    line = fails(*words, "env.num_envs=8", "env.num_plans=8", "run.num_threads=1", "run.device=cpu",
                 f"agent.expert_model_path={other_frames}")  # fmt: skip
    assert line.startswith(
        f"agent.expert_model_path: {other_frames} learned with poses of shape (2, 24, 12), here it is (4, 24, 12). "
        "Take the env config that it was trained with"
    )


def test_an_expert_of_another_kind_or_with_other_joints_is_refused(tiny_tracker, tmp_path):
    saved = load(tiny_tracker)
    words = ["core", "train", "masked_mimic/path_follower", "--results-dir", tmp_path / "r", "--experiment-name", "a",
             "env.num_envs=8", "env.num_plans=8", "run.num_threads=1", "run.device=cpu"]  # fmt: skip
    saved.kind = "path_follower"
    save(tmp_path / "kind.ckpt", saved)
    line = fails(*words, f"agent.expert_model_path={tmp_path / 'kind.ckpt'}")
    assert line == (
        f"agent.expert_model_path: {tmp_path / 'kind.ckpt'} holds a path_follower, not a tracker. Give the run of one"
    )
    saved.kind, saved.joint_names = "tracker", saved.joint_names[::-1]
    save(tmp_path / "joints.ckpt", saved)
    line = fails(*words, f"agent.expert_model_path={tmp_path / 'joints.ckpt'}")
    assert line.startswith(f"agent.expert_model_path: {tmp_path / 'joints.ckpt'} drives other joints than smpl has now")
