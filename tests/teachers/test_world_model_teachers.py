"""Teachers trained through a world model: from a tracker, on their own commands, usable for distillation."""

from pathlib import Path

import pytest
import torch
from tiny_runs import protege

from protege.core.env import env_plugin
from protege.core.learning.policy import ActorCritic
from protege.core.runs.checkpoint import load, save
from protege.core.runs.config import RunConfig, compose
from protege.core.runs.load_policy import load_policy, load_to_act, make_actor_critic
from protege.core.tasks import tasks
from protege.teachers.experiments import EXPERIMENTS

TASKS = {task.kind: task.name for task in tasks().values() if task.modality is not None}
TINY = ["run.device=cpu", "run.num_threads=1", "env.num_envs=8", "env.num_plans=8", "agent.model_units=[16]"]
TINY += [f"agent.{x}" for x in ("imagined_envs=8", "model_batch=8", "warmup_steps=12", "replay_steps=16", "horizon=3")]
TINY += [f"agent.{x}" for x in ("warmup_updates=2", "model_updates=2", "policy_updates=2")]
TINY += ["model.mlp_units=[16]", "model.critic_units=[16]"]


def train(results: Path, name: str, package: str, preset: str, *words: object) -> Path:
    where = ["--results-dir", results, "--experiment-name", name]
    result = protege(package, "train", preset, *where, *TINY, *words)
    assert result.exit_code == 0, result.output
    return results / name


@pytest.fixture(scope="module")
def tracker(robot, tmp_path_factory) -> Path:
    """A tracker that is also trained through a world model."""
    folder = tmp_path_factory.mktemp(robot.name)
    return train(
        folder, "tracker", "core", "full_body_tracker/world_model", "--robot", robot.name, "--max-iterations", 1
    )


@pytest.fixture(scope="module", params=TASKS)
def kind(request) -> str:
    return request.param


def settings(robot, tracker: Path, kind: str):
    plugin, preset = env_plugin(), f"{kind}/world_model"
    words = [*TINY, f"run.robot={robot.name}", f"agent.expert_model_path={tracker}"]
    parts = {"run": RunConfig, "env": plugin.config_class, **EXPERIMENTS[preset].parts}
    return compose(parts, preset, words, robot_settings=plugin.robot_settings)


def test_a_teacher_is_trained_and_labels(robot, tracker, kind, tmp_path):
    words = ["--robot", robot.name, "--max-iterations", 2, f"agent.expert_model_path={tracker}"]
    run = train(tmp_path, kind, "teachers", f"{kind}/world_model", *words)
    saved = load(run)
    assert (saved.kind, saved.iteration, saved.finished) == (kind, 2, True)
    config = settings(robot, tracker, kind)
    env = env_plugin().make(config.run, config.env)
    try:
        loaded = load_to_act(run, env, "agent.teacher_models", [kind])
        policy, obs = loaded.policy, env.reset()
        assert isinstance(policy, ActorCritic) and policy.added_tokens == [TASKS[kind]]
        read = dict(policy.named_parameters())[f"actor.inputs.{TASKS[kind]}.weight"]
        assert read.abs().max() > 0.0  # it has learned from the command: initially zero weights have changed
        assert all(x.isfinite().all() for x in policy(obs))
    finally:
        env.close()


def test_before_training_it_acts_like_the_tracker(robot, tracker, kind):
    config = settings(robot, tracker, kind)
    env = env_plugin().make(config.run, config.env)
    try:
        before, teacher = load_policy(tracker).policy, make_actor_critic(env, config.model)
        teacher.load_from(before.state_dict())
        obs = env.reset()
        assert obs[f"{TASKS[kind]}_mask"].all() and obs[TASKS[kind]].abs().max() > 0.1
        for mine, other in zip(teacher(obs), before(obs), strict=True):
            torch.testing.assert_close(mine, other)
    finally:
        env.close()


def test_a_teacher_can_reuse_the_trackers_world_model(robot, tracker, tmp_path):
    """Without updates the model is bitwise equal to the tracker's, and it needs no warm-up updates."""
    words = ["--robot", robot.name, "--max-iterations", 1, f"agent.expert_model_path={tracker}"]
    words += [
        "agent.model_learning_rate=0",
        "agent.model_muon_rate=0",
        "agent.warmup_updates=10000",
        "--algorithm",
        "world_model",
    ]
    run = train(tmp_path, "a", "teachers", "steering", *words, f"agent.world_model_path={tracker}")
    mine, other = (load(x / "last.ckpt").training["trainer"]["model"] for x in (run, tracker))
    assert all(torch.equal(mine[name], x) for name, x in other.items())


UNCHANGED = ["agent.learning_rate=0", "agent.muon_rate=0"]
"""No update changes the actor."""


def test_initial_weights_are_loaded_into_trained_and_averaged_policy(robot, tracker, tmp_path):
    """With `--checkpoint` and learning rates of 0, both equal the given weights."""
    words = ["--robot", robot.name, "--max-iterations", 1, "--checkpoint", tracker, *UNCHANGED]
    run = train(tmp_path, "a", "core", "full_body_tracker/world_model", *words, "run.seed=5")
    given = load(tracker).model
    saved = load(run)
    trained = {f"actor.{name}": x for name, x in saved.training["trainer"]["actor"].items()}
    weights = [name for name in given if name.startswith("actor.")]
    assert trained.keys() == set(weights)
    for name in weights:
        torch.testing.assert_close(trained[name], given[name])
        torch.testing.assert_close(saved.model[name], given[name])


def refusal(results: Path, *words: object) -> str:
    where = ["--results-dir", results, "--experiment-name", "x", "agent.expert_model_path="]
    result = protege("teachers", "train", "steering/world_model", *where, *TINY, *words)
    assert result.exit_code == 2
    return " ".join(result.output.split())


def test_a_model_that_does_not_fit_is_one_error_line(robot, tracker, tiny_tracker, tmp_path):
    words = ["--robot", robot.name, f"agent.world_model_path={tracker}"]
    message = refusal(tmp_path, *words, "agent.model_units=[8]")
    assert "agent.world_model_path:" in message and "another shape" in message and "agent.model_units" in message
    message = refusal(tmp_path, "--robot", robot.name, f"agent.world_model_path={tmp_path / 'nothing'}")
    assert f"agent.world_model_path: no checkpoint at {tmp_path / 'nothing'}" in message
    other = "g1" if robot.name == "smpl" else "smpl"
    message = refusal(tmp_path, "--robot", other, f"agent.world_model_path={tracker}")
    assert f"drives the robot {robot.name}, not {other}" in message
    if robot.name == "smpl":
        message = refusal(tmp_path, f"agent.world_model_path={tiny_tracker}")
        assert "holds no world model" in message


def test_a_damaged_model_is_one_error_line(tracker, robot, tmp_path):
    saved = load(tracker / "last.ckpt")
    saved.training["trainer"]["model"].pop("bias")
    save(tmp_path / "last.ckpt", saved)
    message = refusal(tmp_path / "results", "--robot", robot.name, f"agent.world_model_path={tmp_path}")
    assert "agent.world_model_path:" in message and "has other parts" in message


def test_another_algorithms_critic_is_replaced(tracker, robot, tmp_path):
    """PPO's rewards have another scale, so that its critic's values cannot be used."""
    settings = ["run.device=cpu", "run.num_threads=1", "env.num_envs=8", "agent.rollout_steps=4", "agent.minibatches=1"]
    settings += ["model.actor=mlp", "model.mlp_units=[16]", "model.critic_units=[24]", "model.layer_norm=true"]
    where = ["--robot", robot.name, "--results-dir", tmp_path, "--experiment-name", "ppo", "--max-iterations", 1]
    result = protege("core", "train", "full_body_tracker/generalist", *where, *settings)
    assert result.exit_code == 0, result.output
    by_ppo, by_model = (taught_by(expert, robot, tmp_path) for expert in (tmp_path / "ppo", tracker))
    assert by_ppo["critic.net.bias"].shape == (16,)
    theirs = load(tracker).model
    assert all(torch.equal(by_model[name], x) for name, x in theirs.items() if name.startswith("critic.net."))


def taught_by(expert: Path, robot, results: Path) -> dict[str, torch.Tensor]:
    """The weights of a teacher that starts from an expert, trained with learning rate 0."""
    words = ["--robot", robot.name, "--max-iterations", 1, *UNCHANGED, "agent.critic_learning_rate=0"]
    words.append(f"agent.expert_model_path={expert}")
    taught = load(train(results, f"from_{expert.name}", "teachers", "path_follower/world_model", *words)).model
    actor = {name: x for name, x in load(expert).model.items() if name.startswith("actor.")}
    assert all(torch.equal(taught[name], x) for name, x in actor.items())
    return taught


def test_a_robust_tracker_teaches_all_tasks_of_an_onboard_student(robot, tmp_path):
    where = ["--robot", robot.name, "--max-iterations", 1]
    words = ["env.randomization.physics_rate=[0,480]", "env.randomization.physics_rate_time=0.2"]
    tracker = train(tmp_path, "tracker", "core", "full_body_tracker/robust", *where, *words)
    assert {"track", "path", "goal", "steering"} == {
        x for x, share in load(tracker).config["env"]["task_mix"].items() if share
    }
    kinds = ("path_follower", "goal_directed", "steering", "masked_mimic")
    taught = [f"agent.teacher_models.{kind}.checkpoint=[{tracker}]" for kind in kinds]
    model = [f"model.{x}" for x in ("latent_dim=16", "ff_size=16", "num_heads=2", "mlp_units=[16]")]
    small = ["run.device=cpu", "run.num_threads=1", "env.num_envs=8", "env.num_plans=8", "model.critic_units=[16]"]
    small += ["agent.rollout_steps=4", "agent.minibatches=1", "agent.evaluation_interval=0"]
    every = "agent.curriculum=[{name: all, task_mix: {path: 1, goal: 1, steering: 1, masked_mimic: 1}}]"
    command = ["distill", "train", "distillation/onboard", "--results-dir", tmp_path, "--experiment-name", "student"]
    result = protege(*command, *where, *model, *small, *taught, every)
    assert result.exit_code == 0, result.output
    student = load(tmp_path / "student")
    assert student.kind == "student" and student.config["model"]["sensors"] == "onboard"
    # It goes on through the world model. There its teacher reads a history of the full state, it one of onboard sensors.
    words = [*where, "--checkpoint", tmp_path / "student", *model, *taught, "model.sensors=onboard"]
    after = load(train(tmp_path, "after", "distill", "distillation/world_model", *words))
    assert after.kind == "student" and after.metrics["actor/anchor_kl"] > 0.0
