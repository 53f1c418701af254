"""Command lines on the real robot."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import torch
from command_lines import MASKED_MIMIC, fails
from tiny_runs import TINY, TRACKER, protege, train

from protege.core.errors import UserError
from protege.core.files import writable_folder
from protege.core.runs.checkpoint import load
from protege.core.runs.load_policy import load_policy
from protege.core.runs.plain_yaml import as_yaml

WALK = "data/motions/smpl_humanoid_walk.npy"
# A separate process with the packages on its path and without the modules that tests have imported.
UMBRELLA = [sys.executable, "-m", "protege.core.cli.umbrella"]


def test_the_umbrella_mounts_every_package():
    result = protege("--help")
    assert result.exit_code == 0
    listed = {line.split()[0] for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()}
    assert listed == {"core", "sim", "teachers", "distill", "deploy", "doctor", "evaluate", "pipeline"}
    assert protege("core", "--version").stdout == f"protege-core, version {version('protege-core')}\n"
    assert protege("--version").stdout == f"protege-core, version {version('protege-core')}\n"


def test_presets_are_listed():
    names = protege("core", "presets").stdout.split()
    assert {TRACKER, MASKED_MIMIC} <= set(names)
    assert names == sorted(names)


def test_a_trained_run_can_be_loaded(tiny_tracker):
    assert {"config.yaml", "metrics.jsonl", "last.ckpt"} < set(os.listdir(tiny_tracker))
    assert [json.loads(line)["samples"] for line in (tiny_tracker / "metrics.jsonl").read_text().splitlines()] == [
        32,
        64,
    ]
    loaded = load_policy(tiny_tracker)
    assert (loaded.kind, loaded.robot) == ("tracker", "smpl")
    assert (loaded.checkpoint.iteration, loaded.checkpoint.samples, loaded.checkpoint.finished) == (2, 64, True)
    assert loaded.config["run"]["motion_file"] == [WALK]
    assert loaded.config["env"]["future_frames"] == [1, 2, 4, 8]


def test_options_reach_the_config(tmp_path):
    options = ["--robot", "smpl", "--simulator", "mujoco", "--seed", 5, "--device", "cpu", "--max-time", 600,
               "--num-envs", 4, "--motion-file", WALK, "--motion-file", "data/motions/smpl_humanoid_run.npy"]  # fmt: skip
    folder = train(TRACKER, tmp_path, "options", *options, "--max-iterations", 1)
    config = load(folder).config
    run = {key: config["run"][key] for key in ("robot", "simulator", "seed", "device", "max_time", "max_iterations")}
    assert list(run.values()) == ["smpl", "mujoco", 5, "cpu", 600.0, 1]
    assert config["run"]["motion_file"] == [WALK, "data/motions/smpl_humanoid_run.npy"]
    # The tiny config's argument overrides the option.
    assert config["env"]["num_envs"] == 8


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_tracker, tmp_path):
    """Physics, commands, normalisers, optimizer and random numbers are all restored."""
    train(TRACKER, tmp_path, "parts", "--max-iterations", 1)
    torch.manual_seed(123)
    parts = load(train(TRACKER, tmp_path, "parts", "--max-iterations", 2))
    whole = load(tiny_tracker)
    assert all(torch.equal(parts.model[name], x) for name, x in whole.model.items())
    assert all(torch.equal(parts.training["trainer"]["obs"][k], x) for k, x in whole.training["trainer"]["obs"].items())


def test_masked_mimic_learns_from_the_tracker(tiny_tracker, tmp_path):
    folder = train(
        MASKED_MIMIC, tmp_path, "mm", f"agent.expert_model_path={tiny_tracker}", "--max-iterations", 1
    )  # fmt: skip
    assert load(folder).kind == "masked_mimic"
    assert "actor/imitation_loss" in json.loads((folder / "metrics.jsonl").read_text())
    result = protege("evaluate", "--checkpoint", folder, "--num-episodes", 2, "--num-envs", 2, "--task", "masked_mimic")
    assert result.exit_code == 0, result.output
    data = json.loads((folder / "evaluation" / "evaluation.json").read_text())
    assert [(name, task["episodes"]) for name, task in data["tasks"].items()] == [("masked_mimic", 2)]


def test_ctrl_c_saves_and_the_same_command_resumes(tmp_path):
    command = ["core", "train", TRACKER, "--results-dir", tmp_path, "--experiment-name", "a", *TINY]
    words = [*UMBRELLA, *map(str, command), "--max-iterations", "100000"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "a" / "metrics.jsonl"
    while not (log.is_file() and log.read_text().count("\n") >= 2):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert f"stopped and saved: {tmp_path / 'a' / 'last.ckpt'}; the same command goes on" in err
    assert "Traceback" not in err
    stopped = load(tmp_path / "a")
    assert (stopped.iteration, stopped.finished) == (log.read_text().count("\n"), False)

    result = protege(*command, "--max-iterations", stopped.iteration + 1)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'a' / 'last.ckpt'}\n"
    assert [json.loads(line)["iteration"] for line in log.read_text().splitlines()] == list(
        range(stopped.iteration + 1)
    )
    assert load(tmp_path / "a").finished


@pytest.mark.parametrize("value", ["smpl", "yes", "1e3", "a: b", "", 3, 2.5, True, ("a b.npy", "c,d.npy"), "é" * 200])
def test_options_are_written_as_yaml(value):
    import yaml

    text = as_yaml(value)
    assert "\n" not in text
    assert yaml.safe_load(text) == (list(value) if isinstance(value, tuple) else value)


def test_the_output_folder_is_checked_first(tmp_path):
    assert writable_folder(tmp_path / "new") == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        writable_folder(tmp_path / "file")


def test_a_teacher_that_starts_from_scratch_prints_a_notice(tmp_path):
    where = ["--results-dir", tmp_path, "--experiment-name", "a", *TINY, "--max-iterations", 0]
    result = protege("teachers", "train", "path_follower", *where, "agent.expert_model_path=")
    assert result.exit_code == 0, result.output
    assert "a  starts from scratch, not from a tracker: agent.expert_model_path is empty" in result.stderr
    where[3] = "b"  # from those weights, it does not
    result = protege(
        "teachers", "train", "path_follower", *where, "--checkpoint", tmp_path / "a", "agent.expert_model_path="
    )
    assert result.exit_code == 0, result.output
    assert "scratch" not in result.stderr


def test_keys_can_be_given_in_a_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("env: {num_envs: 4}\nagent: {epochs: 2, gamma: 0.9}\nrun:\n")
    folder = train(TRACKER, tmp_path, "a", "--config", file, "--max-iterations", 0, "agent.gamma=0.5")
    config = load(folder).config
    # The tiny config's arguments override the file.
    assert (config["env"]["num_envs"], config["agent"]["epochs"], config["agent"]["gamma"]) == (8, 1, 0.5)
    for text, message in {
        "env: {num_emvs: 4}": f"{file}: unknown key env.num_emvs. Did you mean env.num_envs?",
        "agnt: {epochs: 2}": f"{file}: unknown key agnt.epochs. Did you mean agent.epochs?",
        "env: {num_envs: few}": f"{file}: env.num_envs: ",
        "env: [": f"cannot read {file} (line 1: expected the node content, but found '<stream end>')",
        "- 3": f"{file} holds no parts",
    }.items():
        file.write_text(text)
        assert message in fails("core", "train", TRACKER, "--experiment-name", "b", "--config", file)
    assert "cannot read nowhere.yaml" in fails("core", "train", TRACKER, "--config", "nowhere.yaml")


def test_only_presets_of_the_package_can_be_trained():
    line = fails("core", "train", "distillation/unified_lightweight", "--experiment-name", "a")
    assert "cannot train 'distillation/unified_lightweight' here. Known: " in line
    assert TRACKER in line
    line = fails("core", "train", "full_body_tracker/transformer_flat_terrian", "--experiment-name", "a")
    assert f"Did you mean {TRACKER}?" in line


def test_without_sim_the_error_names_the_package_to_install(monkeypatch):
    from protege.core import env

    monkeypatch.setattr(env, "entry_points", lambda **_: [])
    line = fails("core", "train", TRACKER, "--experiment-name", "a")
    assert "no environment named 'humanoid' is installed. Install the simulators: pip install protege-sim" in line
