"""Students that learn their tasks' rewards through a world model and stay near their teachers."""

import pytest
import torch
from tiny import TASKS, of_robot, save_teachers, scripted

from protege.core.env import env_plugin
from protege.core.learning.world_model.learner import WorldModelLearner
from protege.core.robots.robot import Robot
from protege.core.runs.checkpoint import load
from protege.core.runs.config import Config, RunConfig, compose
from protege.core.runs.experiments import EXPERIMENTS as CORE
from protege.core.runs.experiments import train_imagined_mimic
from protege.core.runs.load_policy import load_policy, make_actor_critic
from protege.core.runs.run import Run
from protege.distill.config import TeacherModel, TeacherModels
from protege.distill.experiment import EXPERIMENTS
from protege.distill.teachers_by_task import TeachersByTask, load_teachers
from protege.distill.world_model import anchor, train

PRESET = "distillation/world_model"
TINY = [
    "num_plans=8",
    "history_steps=2",
    "episode_length_s=3",
    "num_threads=1",
    "num_envs=8",
    "device=cpu",
    "max_time=null",
]
TINY += [
    "latent_dim=16",
    "ff_size=16",
    "num_layers=1",
    "num_heads=2",
    "model.mlp_units=[16]",
    "model.critic_units=[16]",
]
TINY += [
    "agent.model_units=[16]",
    "imagined_envs=8",
    "model_batch=8",
    "warmup_steps=12",
    "replay_steps=16",
    "horizon=3",
]
TINY += ["warmup_updates=2", "model_updates=2", "policy_updates=2"]


def make_config(robot: Robot, *overrides: str) -> Config:
    parts = {"run": RunConfig, "env": env_plugin().config_class, **EXPERIMENTS[PRESET].parts}
    settings = [*TINY, *of_robot(robot), "simulator=mujoco", *overrides]
    return compose(parts, PRESET, settings, robot_settings=env_plugin().robot_settings)


def make_learner(robot: Robot, *overrides: str) -> WorldModelLearner:
    config = make_config(robot, *overrides)
    env = env_plugin().make(config.run, config.env)
    teachers = anchor(TeachersByTask(scripted(robot)))
    return WorldModelLearner(make_actor_critic(env, config.model), env, config.agent, anchor=teachers)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("sensors", ["full_state", "onboard"])
def test_a_student_of_all_tasks_trains_and_is_saved_as_a_student(robot, sensors, tmp_path):
    folders = save_teachers(tmp_path, robot)
    where = [f"results_dir={tmp_path}", "experiment_name=student", "max_iterations=2", "history_steps=1"]
    where += [f"model.sensors={sensors}"]
    teachers = [f"agent.teacher_models.{name}.checkpoint=[{folder}]" for name, folder in folders.items()]
    config = make_config(robot, *where, *teachers)
    env = env_plugin().make(config.run, config.env, sensors=sensors)
    try:
        with Run(config, "student", env.robot, env.obs_shapes) as run:
            train(run, env, config)
    finally:
        env.close()
    saved = load(tmp_path / "student")
    assert saved.kind == "student" and saved.iteration == 2
    assert saved.metrics["actor/anchor_kl"] > 0.0
    assert all(x.isfinite().all() for x in saved.model.values())


def test_each_imagined_env_has_the_teacher_of_its_task(robot):
    learner = make_learner(robot)
    learner.collect(learner.env, 0, 0.0)
    learner.update()
    slices = learner.imagined.task_slices
    assert list(slices) == TASKS and sum(part.stop - part.start for part in slices.values()) == 8
    teachers = scripted(robot)
    obs = {name: x[:8] for name, x in learner.obs.items()}
    means = anchor(TeachersByTask(teachers))(obs, slices)
    same = TeachersByTask(dict.fromkeys(teachers, teachers["path_follower"]))
    offset = means - same.label(obs, slices)["teacher_mean"]
    expected = {"path": 0.0, "goal": 0.1, "steering": 0.2, "masked_mimic": 0.3}
    for task, part in slices.items():
        torch.testing.assert_close(
            offset[part, 0], torch.full_like(offset[part, 0], expected[task]), atol=1e-5, rtol=0.0
        )


def test_the_anchor_without_rewards_is_imitation(robot):
    """Without rewards and penalties the student's actions approach those of its teachers."""
    rewarded = ["track", "path_follower_params", "goal_params", "steering_params"]
    learner = make_learner(
        robot, *(f"env.{name}.rewards={{body_distance: 0.0}}" for name in rewarded), "offset_penalty=0", "rate_penalty=0",
        "critic=false", "anchor_weight=1", "learning_rate=3e-3", "policy_updates=10", "env.mix_probability=0",
    )  # fmt: skip
    divergences = []
    for _ in range(12):
        learner.collect(learner.env, 1, 0.0)
        divergences.append(learner.update()["actor/anchor_kl"])
    assert divergences[-1] < 0.7 * divergences[0]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_anchor_changes_the_actor_by_its_weight(weight, robot):
    """Weight 0 is no anchor at all, to the bit."""
    weights = []
    for given in (weight, 0.0):
        learner = make_learner(robot, f"anchor_weight={given}")
        torch.manual_seed(0)
        learner.collect(learner.env, 0, 0.0)
        learner.update()
        weights.append(torch.cat([x.flatten() for x in learner.trained.actor.parameters()]))
    assert torch.equal(*weights) == (weight == 0.0)


def test_masked_mimic_through_a_model_teaches_students(robot, tmp_path):
    """Its run is loaded like any teacher's; a label is its action at the prior's mean latent."""
    small = [word for word in TINY if not word.startswith("model.")]
    small += ["latent_size=4", *(f"agent.{part}_units=[16]" for part in ("prior", "encoder", "decoder", "critic"))]
    own = [f"results_dir={tmp_path}", "experiment_name=mimic", "max_iterations=1", "agent.expert_model_path="]
    preset, settings = "masked_mimic/world_model", env_plugin().robot_settings
    parts = {"run": RunConfig, "env": env_plugin().config_class, **CORE[preset].parts}
    config = compose(parts, preset, [*small, *own, *of_robot(robot)], robot_settings=settings)
    env = env_plugin().make(config.run, config.env)
    try:
        with Run(config, "masked_mimic", env.robot, env.obs_shapes) as run:
            train_imagined_mimic(run, env, config)
        models = TeacherModels(masked_mimic=TeacherModel(checkpoint=[str(run.folder)]))  # pyright: ignore[reportCallIssue]
        obs = env.reset()
        labels = load_teachers(models, ["masked_mimic"], env, config.run).label(obs, env.task_slices)
        mean, _ = load_policy(run.folder).policy.distribution(obs)
    finally:
        env.close()
    assert torch.equal(labels["teacher_mean"], mean) and not labels["teacher_spread"].any()
    assert labels["teacher_value"].isfinite().all()
