"""The three presets on the real robot at small size, and the config keys of the original guide."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_runs import TINY, protege, train

from protege.core.env import env_plugin
from protege.core.learning.policy import ActorCritic
from protege.core.runs.checkpoint import load
from protege.core.runs.config import RunConfig, compose
from protege.core.runs.load_policy import load_policy, make_actor_critic
from protege.core.tasks import tasks
from protege.teachers.experiments import EXPERIMENTS, PARTS

KINDS = ["path_follower", "goal_directed", "steering"]
TASKS = {task.kind: task.name for task in tasks().values()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_preset_trains_from_the_tracker(kind: str, tiny_tracker: Path, tmp_path: Path) -> None:
    start = f"agent.expert_model_path={tiny_tracker}"
    run = train(kind, tmp_path, kind, start, "run.max_iterations=2", package="teachers")
    saved = load(run)
    assert (saved.kind, saved.iteration, saved.finished) == (kind, 2, True)
    assert saved.config["model"]["added_tokens"] == [TASKS[kind]]
    assert saved.config["env"]["task_mix"] == {"track": 0.0, TASKS[kind]: 1.0}
    policy = load_policy(run).policy
    assert isinstance(policy, ActorCritic) and policy.added_tokens == [TASKS[kind]]
    # It has learned from the command: weights that were initially zero have changed.
    assert added(policy, TASKS[kind]).abs().max() > 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_a_teacher_acts_like_the_tracker(kind: str, tiny_tracker: Path) -> None:
    words = [*TINY, f"agent.expert_model_path={tiny_tracker}", "run.experiment_name=x"]
    plugin = env_plugin()
    config = compose({"run": RunConfig, "env": plugin.config_class, **PARTS}, kind, words)
    env = plugin.make(config.run, config.env)
    try:
        tracker, teacher = load_policy(tiny_tracker).policy, make_actor_critic(env, config.model)
        teacher.load_from(tracker.state_dict())
        obs = env.reset()
        assert obs[f"{TASKS[kind]}_mask"].all() and obs[TASKS[kind]].abs().max() > 0.1
        for _ in range(3):
            for mine, theirs in zip(teacher(obs), tracker(obs), strict=True):
                torch.testing.assert_close(mine, theirs)
            obs = env.step(teacher.distribution(obs)[0].detach()).obs
    finally:
        env.close()
    assert not added(teacher, TASKS[kind]).any()
    torch.nn.init.normal_(added(teacher, TASKS[kind]))
    assert (teacher.distribution(obs)[0] - tracker.distribution(obs)[0]).abs().max() > 1e-3


def added(policy: ActorCritic, token: str) -> torch.nn.Parameter:
    """The last weights between a command and the proprioception token, which are initially zero."""
    return dict(policy.named_parameters())[f"actor.0.encoders.{token}.2.weight"]


@pytest.mark.parametrize(
    ("kind", "words", "group", "key", "value"),
    [
        ("path_follower", "env.path_follower_params.enable_path_termination=false",
         "path_follower_params", "enable_path_termination", False),
        ("goal_directed", "env.goal_params.goal_reward_weight=1.0", "goal_params", "goal_reward_weight", 1.0),
        ("steering", "env.steering_params.obs_size=5", "steering_params", "obs_size", 5),
    ],
)  # fmt: skip
def test_the_guides_keys_are_accepted(kind, words, group, key, value, tiny_tracker, tmp_path) -> None:
    options = [f"agent.expert_model_path={tiny_tracker}", "run.max_iterations=1", words]
    run = train(kind, tmp_path, "guided", *options, package="teachers")
    saved = load(run)
    assert saved.config["env"][group][key] == value
    assert saved.obs_shapes["steering"] == [5 if key == "obs_size" else 3]
    if key == "obs_size":
        weight = next(x for name, x in saved.model.items() if ".steering." in name and name.endswith("weight"))
        assert weight.shape[-1] == 5 + 1  # including the mask


def test_a_teacher_resumes_without_its_tracker(tiny_tracker: Path, tmp_path: Path) -> None:
    tracker = shutil.copytree(tiny_tracker, tmp_path / "tracker")
    start = f"agent.expert_model_path={tracker}"
    train("steering", tmp_path, "steering", start, "run.max_iterations=1", package="teachers")
    shutil.rmtree(tracker)
    run = train("steering", tmp_path, "steering", start, "run.max_iterations=2", package="teachers")
    assert load(run).iteration == 2


def test_a_tracker_of_another_size_is_named(tiny_tracker: Path, tmp_path: Path) -> None:
    words = [*TINY, "latent_dim=32", f"agent.expert_model_path={tiny_tracker}"]
    done = protege("teachers", "train", "steering", "--results-dir", tmp_path, "--experiment-name", "x", *words)
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    assert "does not fit this one" in done.stderr and "same model sizes" in done.stderr


def test_unknown_presets_and_the_list_of_known_ones() -> None:
    done = protege("teachers", "train", "juggling")
    assert (
        done.exit_code == 2
        and done.stderr.startswith("error: cannot train 'juggling' here")
        and "path_follower" in done.stderr
    )
    listed = protege("teachers", "presets").stdout.split()
    wide = {"path_follower/wide_speed", "steering/wide_speed"}
    every = {f"{kind}{variant}" for kind in KINDS for variant in ("", "/laptop", "/world_model")}
    assert set(listed) == every | wide
    assert set(EXPERIMENTS) == {*KINDS, *(f"{kind}/world_model" for kind in KINDS)}
    assert set(KINDS) < set(TASKS)
