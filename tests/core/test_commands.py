"""The command lines on the real robot: what they do, and the one line that they say about bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import TINY, TRACKER, protege, snapshot, train

from protege.core.errors import UserError
from protege.core.files import writable_folder
from protege.core.motions import clip_dtype
from protege.core.runs.checkpoint import load, save
from protege.core.runs.load_policy import load_policy
from protege.core.runs.plain_yaml import as_yaml

MASKED_MIMIC = "masked_mimic/path_follower"
WALK = "data/motions/smpl_humanoid_walk.npy"
# A process of its own that knows where the packages are, and not what the tests have done.
UMBRELLA = [sys.executable, "-m", "protege.core.cli.umbrella"]


def fails(*words: object) -> str:
    """Run a command that has to fail as all commands do: exit code 2, one line on stderr. Returns the line."""
    result = protege(*words)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    line = result.stderr
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


# What they do ------------------------------------------------------------------------------------------------------------


def test_the_umbrella_mounts_every_package():
    result = protege("--help")
    assert result.exit_code == 0
    listed = {line.split()[0] for line in result.stdout.split("Commands:")[1].splitlines() if line.strip()}
    assert listed == {"core", "sim", "teachers", "distill", "deploy", "evaluate", "pipeline"}
    assert protege("core", "--version").stdout == f"protege-core, version {version('protege-core')}\n"
    assert protege("--version").stdout == f"protege-core, version {version('protege-core')}\n"


def test_presets_are_listed():
    names = protege("core", "presets").stdout.split()
    assert {TRACKER, MASKED_MIMIC} <= set(names)
    assert names == sorted(names)


def test_help_is_quick():
    """No package that takes seconds to import is needed to say what the options are."""
    code = "import sys; from protege.core.cli import main, umbrella; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_train_leaves_a_run_that_can_be_loaded(tiny_tracker):
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
    # The tiny config's own argument comes later than the option.
    assert config["env"]["num_envs"] == 8


def test_a_resumed_run_equals_an_uninterrupted_one(tiny_tracker, tmp_path):
    """Physics, commands, normalisers, optimizer and random draws all go on."""
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


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
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


def test_a_folder_is_tried_before_work_begins(tmp_path):
    assert writable_folder(tmp_path / "new") == tmp_path / "new"
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        writable_folder(tmp_path / "file")


# Bad input ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.num_env=3"], "unknown key env.num_env. Did you mean env.num_envs?"),
        (["env.num_envs=many"], "env.num_envs"),
        (["--robot", "smpk"], "no robot 'smpk'. Did you mean 'smpl'?"),
        (["--simulator", "bullet"], "no simulator 'bullet'"),
        (["run.device=cuda:7"], "run.device is cuda:7, but torch sees no GPU"),
        (["run.motion_file=[]"], "no motion clip given. Add --motion-file"),
        (["--motion-file", "nowhere.npy"], "no clip at nowhere.npy"),
        (["--checkpoint", "nowhere"], "no checkpoint at nowhere"),
        (["agent.expert_model_path=nowhere"], "no checkpoint at nowhere"),
        (["run.experiment_name="], "run.experiment_name is empty. Add --experiment-name NAME"),
        (["task_mix={track: 0, walk: 1}"], "env.task_mix: unknown task 'walk'"),
        (["tokens=[proprioception, smell]"], "there is no token set 'smell'"),
        (["env.num_envs=0"], "env.num_envs is 0. Take 1 or more"),
        (["agent.minibatches=33"], "agent.minibatches is 33, but a rollout has 32 transitions"),
        (["goal_params.distance=[4,1]"], "env.goal_params.distance is [4.0, 1.0]. The first must not be larger"),
        (["track.rewards.smile=1"], "env.track.rewards: unknown reward term 'smile'. Known: body_pos"),
        (["path_follower_params.rewards.smile=1"], "env.path_follower_params.rewards: unknown reward term 'smile'"),
        (["num_heads=3"], "model.latent_dim must be a multiple of model.num_heads"),
    ],
)
def test_a_training_that_cannot_begin_writes_nothing(tmp_path, monkeypatch, words, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    where = ["--results-dir", tmp_path, "--experiment-name", "a"]
    assert message in fails("core", "train", TRACKER, *where, *TINY, *words)
    assert list(tmp_path.iterdir()) == []


def clip(frames: int, joints: int = 69) -> np.ndarray:
    data = np.zeros(frames, clip_dtype(joints))
    data["time"], data["root_quat_w"][:, 0], data["root_pos_w"][:, 2] = np.arange(frames) / 30.0, 1.0, 0.95
    return data


def truncated(path: Path) -> None:
    np.save(path, clip(30))
    path.write_bytes(path.read_bytes()[:-1000])


def not_a_number(path: Path) -> None:
    data = clip(30)
    data["joint_pos"][12, 3] = np.nan
    np.save(path, data)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"time": 0.0}], dtype=object))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "no clip at"),
        (truncated, "is a .npy file that is damaged or cut short. Download or copy it again"),
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("walk"), "is text"),
        (pickled, "is of no known motion format"),
        (not_a_number, "joint_pos of frame 12 is not a finite number"),
        (lambda path: np.save(path, clip(0)), "has 0 frames. A clip needs at least two"),
        (lambda path: np.save(path, clip(30, joints=28)), "has 28 joints, smpl has 69. Retarget it to smpl"),
        (
            lambda path: np.save(path, np.zeros((30, 69))),
            "is an array of float64 of shape (30, 69), not a clip with the fields",
        ),
    ],
    ids=["missing", "truncated", "empty", "text", "pickled", "NaN", "zero length", "wrong robot", "plain array"],
)
def test_bad_clips_are_named(tmp_path, write, message):
    path = tmp_path / "walk_on.npy"
    write(path)
    results = tmp_path / "results"
    line = fails(
        "core", "train", TRACKER, "--results-dir", results, "--experiment-name", "a", "--motion-file", path, *TINY
    )
    assert str(path) in line
    assert message in line
    assert not results.exists()


def changed(tracker: Path, folder: Path, **changes: object) -> Path:
    """A copy of the tracker's checkpoint with other facts."""
    path = folder / "changed" / "last.ckpt"
    save(path, replace(load(tracker), **changes))
    return path


def test_bad_checkpoints_are_named(tiny_tracker, tmp_path):
    other_robot = changed(tiny_tracker, tmp_path / "robot", robot="g1")
    other_shape = changed(tiny_tracker, tmp_path / "shape", config={"model": {"latent_dim": 32, "ff_size": 16}})
    other_version = tmp_path / "version.ckpt"
    data = torch.load(tiny_tracker / "last.ckpt", weights_only=True)
    torch.save(data | {"format": 99, "versions": {"protege-core": "9.0"}}, other_version)
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes((tiny_tracker / "last.ckpt").read_bytes()[:5000])
    messages = {
        other_robot: "drives the robot g1, not smpl",
        other_shape: "holds a policy of another shape",
        other_version: "was written in another format, by protege-core 9.0",
        cut: "is damaged",
        tmp_path / "nowhere": "no checkpoint at",
    }
    for path, message in messages.items():
        results = tmp_path / "results"
        words = ["--results-dir", results, "--experiment-name", "a", *TINY, f"agent.expert_model_path={path}"]
        lines = [fails("core", "train", TRACKER, *words)]
        if path != other_robot:
            lines.append(fails("evaluate", "--checkpoint", path, "--output", results))
        for line in lines:
            assert str(path) in line
            assert message in line
        assert not results.exists()
    line = fails("evaluate", "--checkpoint", tiny_tracker, "--robot", "g1")
    assert f"{tiny_tracker} drives the robot smpl, not g1. Take --robot smpl" in line


def test_masked_mimic_needs_its_tracker(tmp_path):
    words = ["--results-dir", tmp_path / "results", "--experiment-name", "a", "--num-envs", "8", "num_plans=8"]
    line = fails("core", "train", MASKED_MIMIC, *words, "agent.expert_model_path=")
    assert "agent.expert_model_path is empty. Name the tracker" in line
    line = fails("core", "train", MASKED_MIMIC, *words, "agent.expert_model_path=nowhere")
    assert "agent.expert_model_path: no checkpoint at nowhere" in line
    assert "agent.expert_model_path=results/NAME" in line
    assert "--checkpoint" not in line
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["latent_dim=32"], "was trained with model.latent_dim=16, not 32. Leave that as it was, or begin anew"),
        (["env.num_envs=4"], "was trained with env.num_envs=8, not 4."),
        (["env.task_mix.path=1"], "was trained with env.task_mix.path=nothing, not 1.0."),
        (["agent.learning_rate=2e-4"], "was trained with agent.learning_rate=0.0001, not 0.0002."),
        (["env.num_plans=4"], "was trained with env.num_plans=8, not 4."),
    ],
)
def test_a_run_of_another_shape_is_not_resumed_and_not_touched(tiny_tracker, words, message):
    before = snapshot(tiny_tracker)
    where = ["--results-dir", tiny_tracker.parent, "--experiment-name", tiny_tracker.name]
    line = fails("core", "train", TRACKER, *where, *TINY, *words)
    assert str(tiny_tracker / "last.ckpt") in line
    assert message in line
    assert snapshot(tiny_tracker) == before


def test_keys_of_a_task_without_worlds_are_warned_of(tmp_path):
    where = ["--results-dir", tmp_path, "--experiment-name", "a", *TINY, "--max-iterations", 0]
    key = "env.path_follower_params.enable_path_termination"
    result = protege("core", "train", TRACKER, *where, f"{key}=true")
    assert result.exit_code == 0
    warning = result.stderr.splitlines()[0]
    assert warning.startswith(f"warning: {key} has no effect: no env has the task path.")
    assert warning.endswith("The names of its presets begin with path_follower")
    result = protege("core", "train", TRACKER, *where, "--no-resume", f"{key}=true", "env.task_mix.path=1")
    assert result.exit_code == 0
    assert "warning" not in result.stderr


def test_a_tracker_that_is_paid_by_two_measures_is_warned_of(tmp_path):
    where = ["--results-dir", tmp_path, "--experiment-name", "a", *TINY, "--max-iterations", 0, "--no-resume"]
    mix, pay = "env.task_mix={track: 1, path: 0, goal: 1, steering: 1}", "rewards={body_pos: 1.0}"
    result = protege(
        "core", "train", "full_body_tracker/generalist", *where, mix, f"env.track.{pay}", f"env.goal_params.{pay}"
    )
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "warning" in line] == [
        "warning: env.steering_params.rewards are not those of env.track: "
        "a tracker, which is not told its task, learns badly from both"
    ]
    result = protege(
        "core", "train", "full_body_tracker/generalist", *where, mix, "env.goal_params.goal_reward_weight=0.5"
    )
    assert "warning: env.goal_params.rewards are not those of env.track" in result.stderr
    result = protege("core", "train", "full_body_tracker/generalist", *where, mix)
    assert result.exit_code == 0 and "warning" not in result.stderr
    only = "env.task_mix={track: 0, path: 0, goal: 0, steering: 0, masked_mimic: 1}"
    result = protege("core", "train", "full_body_tracker/generalist", *where, only, f"env.track.{pay}")
    assert result.exit_code == 0 and "are not those of" not in result.stderr


def test_a_teacher_may_start_from_scratch_and_says_so(tmp_path):
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


def test_keys_come_from_a_file_too(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("env: {num_envs: 4}\nagent: {epochs: 2, gamma: 0.9}\nrun:\n")
    folder = train(TRACKER, tmp_path, "a", "--config", file, "--max-iterations", 0, "agent.gamma=0.5")
    config = load(folder).config
    # The tiny config's own arguments come later than the file.
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


def test_evaluations_need_a_world_and_an_episode(tiny_tracker):
    for option in ("--num-envs", "--num-episodes"):
        result = protege("evaluate", "--checkpoint", tiny_tracker, option, 0)
        assert result.exit_code == 2
        assert option in result.stderr


def test_folders_that_cannot_be_written_are_named(tiny_tracker, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = fails("core", "train", TRACKER, "--results-dir", tmp_path / "file", "--experiment-name", "a", *TINY)
    assert f"cannot write {tmp_path / 'file' / 'a'}" in line
    line = fails("evaluate", "--checkpoint", tiny_tracker, "--output", tmp_path / "file" / "b")
    assert f"cannot write {tmp_path / 'file' / 'b'}" in line
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_gpu_that_is_full_says_how_many_worlds_to_take(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("protege.core.learning.learner.Learner.update", full)
    line = fails("core", "train", TRACKER, "--results-dir", tmp_path, "--experiment-name", "a", *TINY)
    assert "8 envs fit into the memory of cpu, but not what is learned" in line
    assert "Take half as many: --num-envs 4" in line


def test_who_types_the_evaluation_of_old_is_told_the_new_one():
    for words in ([], ["--help"], ["--checkpoint", "results/a", "--task", "track", "--num-episodes", 3]):
        assert fails("core", "evaluate", *words) == (
            "error: `protege core evaluate` is gone. Use `protege evaluate` (package protege-distill)\n"
        )
    assert "evaluate" not in protege("core", "--help").stdout


def test_only_its_own_presets_can_be_trained():
    line = fails("core", "train", "distillation/unified_lightweight", "--experiment-name", "a")
    assert "cannot train 'distillation/unified_lightweight' here. Known: " in line
    assert TRACKER in line
    line = fails("core", "train", "full_body_tracker/transformer_flat_terrian", "--experiment-name", "a")
    assert f"Did you mean {TRACKER}?" in line


def test_without_sim_it_says_what_to_install(monkeypatch):
    from protege.core import env

    monkeypatch.setattr(env, "entry_points", lambda **_: [])
    line = fails("core", "train", TRACKER, "--experiment-name", "a")
    assert "no environment named 'humanoid' is installed. Install the simulators: pip install protege-sim" in line
