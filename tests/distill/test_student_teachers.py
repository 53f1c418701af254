"""A student or a tracker as the teacher of a student."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch
from tiny import TASKS, TEACHERS, save_tracker, student_config

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.robots.robot import Robot
from protege.core.runs.checkpoint import Checkpoint, save
from protege.core.runs.load_policy import load_policy, make_actor_critic
from protege.distill.curriculum import TaskEnv
from protege.distill.teachers_by_task import TeachersByTask, load_teachers

COMMANDS = "tokens=[proprioception, history, path, steering]"


def save_student(folder: Path, env: TaskEnv, robot: Robot, *overrides: str, critic: bool = True) -> Path:
    """A run folder with an untrained student, whose last layer is random, as after a training."""
    config = student_config(folder, *overrides, robot=robot)
    torch.manual_seed(0)
    policy = make_actor_critic(env, config.model)
    torch.nn.init.normal_(list(policy.actor.parameters())[-2])  # the last layer's weights
    weights = {name: x for name, x in policy.state_dict().items() if critic or not name.startswith("critic.")}
    shapes = {name: list(shape) for name, shape in env.obs_shapes.items()}
    made = Checkpoint("student", config.to_dict(), robot.name, list(robot.joint_names), shapes, weights)
    save(folder / "last.ckpt", made)
    return folder


@pytest.fixture
def env(tmp_path: Path, robot: Robot) -> Iterator[TaskEnv]:
    config = student_config(tmp_path, robot=robot)
    env = cast(TaskEnv, env_plugin().make(config.run, config.env))
    yield env
    env.close()


def load(env: TaskEnv, robot: Robot, teacher: Path, *its_tasks: str, values: bool = True) -> TeachersByTask:
    """One policy as all four teachers of some tasks."""
    config = student_config(teacher, robot=robot)
    for name in TEACHERS:
        getattr(config.agent.teacher_models, name).checkpoint = [str(teacher)]
    return load_teachers(config.agent.teacher_models, its_tasks, env, config.run, values=values)


def test_a_student_labels_all_tasks_with_its_own_actions(env: TaskEnv, tmp_path: Path, robot: Robot) -> None:
    folder = save_student(tmp_path / "full", env, robot)
    teachers = load(env, robot, folder, *TASKS)
    obs = env.set_task_mix(dict.fromkeys(TASKS, 1.0))
    labels = teachers.label(obs, env.task_slices)
    mean, _, value = load_policy(folder).policy(obs)
    torch.testing.assert_close(labels["teacher_mean"], mean, atol=1e-5, rtol=0.0)
    torch.testing.assert_close(labels["teacher_value"], value, atol=1e-5, rtol=0.0)
    assert mean.std(dim=0).max() > 0.01  # it differs between envs


def test_a_student_that_does_not_read_a_tasks_commands_is_refused(env: TaskEnv, tmp_path: Path, robot: Robot) -> None:
    folder = save_student(tmp_path / "some", env, robot, COMMANDS)
    load(env, robot, folder, "path", "steering")
    for task, teacher in (("goal", "goal_directed"), ("masked_mimic", "masked_mimic")):
        with pytest.raises(
            UserError, match=rf"^agent\.teacher_models\.{teacher}\.checkpoint\[0\]: .*commands of {task}\."
        ):
            load(env, robot, folder, "path", task)


def test_a_critic_is_needed_for_values_only(env: TaskEnv, tmp_path: Path, robot: Robot) -> None:
    folder = save_student(tmp_path / "released", env, robot, critic=False)
    with pytest.raises(UserError, match="released without its critic") as refused:
        load(env, robot, folder, "path")
    assert refused.value.remedy.endswith("or do without values: agent.value_distillation_weight=0")
    teachers = load(env, robot, folder, "path", values=False)
    obs = env.set_task_mix({"path": 1.0})
    label = teachers.label(obs, env.task_slices)["teacher_mean"]
    torch.testing.assert_close(label, load_policy(folder).policy(obs)[0], atol=1e-5, rtol=0.0)


def test_a_tracker_labels_all_tasks_by_their_references(env: TaskEnv, tmp_path: Path, robot: Robot) -> None:
    folder = save_tracker(tmp_path / "tracker", "tracker", robot)
    teachers = load(env, robot, folder, *TASKS)
    obs = env.set_task_mix(dict.fromkeys(TASKS, 1.0))
    label = teachers.label(obs, env.task_slices)["teacher_mean"]
    torch.testing.assert_close(label, load_policy(folder).policy(obs)[0], atol=1e-5, rtol=0.0)
