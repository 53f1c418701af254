"""Command lines on the real robot: the error line for invalid input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_lines import MASKED_MIMIC, fails
from tiny_runs import TINY, TRACKER, protege, snapshot

from protege.core.motions import clip_dtype
from protege.core.runs.checkpoint import load, save


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
        (["track.rewards.smile=1"], "env.track.rewards: unknown reward term 'smile'. Known: body_distance"),
        (["path_follower_params.rewards.smile=1"], "env.path_follower_params.rewards: unknown reward term 'smile'"),
        (["num_heads=3"], "model.latent_dim must be a multiple of model.num_heads"),
    ],
)
def test_a_training_that_cannot_start_writes_nothing(tmp_path, monkeypatch, words, message):
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
        (pickled, "is not in a known motion format"),
        (not_a_number, "joint_pos of frame 12 is not a finite number"),
        (lambda path: np.save(path, clip(0)), "has 0 frames. A clip needs at least two"),
        (lambda path: np.save(path, clip(30, joints=28)), "has 28 joints, smpl has 69. Retarget it to smpl"),
        (
            lambda path: np.save(path, np.zeros((30, 69))),
            "is not in a known motion format (npy of float64 of shape (30, 69))",
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


def test_keys_of_a_task_without_envs_cause_a_warning(tmp_path):
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


def test_different_rewards_of_a_trackers_tasks_cause_a_warning(tmp_path):
    where = ["--results-dir", tmp_path, "--experiment-name", "a", *TINY, "--max-iterations", 0, "--no-resume"]
    mix, pay = "env.task_mix={track: 1, path: 0, goal: 1, steering: 1}", "rewards={body_pos: 1.0}"
    result = protege(
        "core", "train", "full_body_tracker/generalist", *where, mix, f"env.track.{pay}", f"env.goal_params.{pay}"
    )
    assert result.exit_code == 0, result.output
    assert [line for line in result.stderr.splitlines() if "warning" in line] == [
        "warning: env.steering_params.rewards are not those of env.track: "
        "a tracker does not observe its task, and learns badly from both"
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


def test_evaluations_need_an_env_and_an_episode(tiny_tracker):
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


def test_a_full_gpu_error_names_a_number_of_envs(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("protege.core.learning.learner.Learner.update", full)
    line = fails("core", "train", TRACKER, "--results-dir", tmp_path, "--experiment-name", "a", *TINY)
    assert "8 envs fit into the memory of cpu, but their training data does not" in line
    assert "Take half as many: --num-envs 4" in line


def test_the_former_evaluate_command_names_its_replacement():
    for words in ([], ["--help"], ["--checkpoint", "results/a", "--task", "track", "--num-episodes", 3]):
        assert fails("core", "evaluate", *words) == (
            "error: `protege core evaluate` is gone. Use `protege evaluate` (package protege-distill)\n"
        )
    assert "evaluate" not in protege("core", "--help").stdout
