"""The config keys of a distillation, their defaults and their checks."""

import pytest

from protege.core.env import env_plugin
from protege.core.errors import UserError
from protege.core.learning.policy import ActorCritic, ModelConfig
from protege.core.robots.servos import Servos
from protege.core.runs.config import RunConfig, compose
from protege.distill.config import TEACHER_OF_TASK, TeacherModels
from protege.distill.experiment import EXPERIMENTS
from protege.distill.plots import COLORS
from protege.distill.tasks import EVALUATED
from protege.sim.robots import get_robot

PARTS = {"run": RunConfig, "env": env_plugin().config_class, **EXPERIMENTS["distillation"].parts}


def configured(*overrides):
    return compose(PARTS, "distillation/unified_lightweight", overrides)


def test_the_defaults_are_those_of_the_docs():
    config = configured()
    agent, model = config.agent, config.model
    assert (agent.distillation_weight, agent.kl_weight, agent.value_distillation_weight) == (2.5, 0.1, 0.5)
    assert (model.latent_dim, model.ff_size, model.num_layers) == (256, 512, 2)
    assert set(agent.teacher_models.weights()) == set(TEACHER_OF_TASK.values())
    assert all(getattr(agent.teacher_models, name).checkpoint for name in agent.teacher_models.weights())


def test_keys_may_be_shortened_to_a_unique_suffix():
    config = configured(
        "teacher_models.steering.weight=2",
        "distillation_weight=3",
        "kl_weight=0.2",
        "value_distillation_weight=0.7",
        "latent_dim=128",
        "teacher_models.goal_directed.checkpoint=[a, b]",
        "curriculum=[{name: only, task_mix: {goal: 1}}]",
    )
    agent = config.agent
    assert agent.teacher_models.weights() == {"path_follower": 1, "goal_directed": 1, "steering": 2, "masked_mimic": 5}
    assert (agent.distillation_weight, agent.kl_weight, agent.value_distillation_weight) == (3.0, 0.2, 0.7)
    assert agent.teacher_models.goal_directed.checkpoint == ["a", "b"]
    assert config.model.latent_dim == 128
    assert [(stage.name, stage.share, stage.task_mix) for stage in agent.curriculum] == [("only", 1.0, {"goal": 1.0})]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("teacher_models.path.weight=2", "path_follower.weight"),
        ("distilation_weight=2", "agent.distillation_weight"),
        ("kl_weight=much", "kl_weight"),
        ("distillation_weight=-1", r"agent\.distillation_weight is -1\.0\. Take 0 or more"),
        ("teacher_models.steering.weight=-1", r"agent\.teacher_models\.steering\.weight is -1\.0"),
        ("teacher_models.steering.checkpoint={a: 1}", r"steering\.checkpoint\[0\] is \{'a': 1\}"),
        ("curriculum=[{nam: x}]", r"unknown key nam\. Did you mean name\?"),
    ],
)
def test_the_error_names_a_wrong_key_or_type(override, message):
    with pytest.raises(UserError, match=message):
        configured(override)


def test_every_task_has_a_teacher_an_evaluation_and_a_colour():
    assert set(TEACHER_OF_TASK) == {task.name for task in EVALUATED.values()} == set(COLORS)
    assert set(TEACHER_OF_TASK.values()) == set(TeacherModels().weights())


def test_the_student_has_at_most_a_fifth_of_the_teachers_parameters():
    robot, config = get_robot("smpl"), configured()
    frames, bodies, size = len(config.env.future_frames), robot.num_bodies, 13 + 2 * robot.num_joints + 3 * 23
    shapes = {
        "proprioception": (size,),
        "history": (config.env.history_steps, size),
        "poses": (frames, bodies, 12),
        "pose_mask": (frames, bodies),
        "reference_joint_pos": (robot.num_joints,),
        "reference_joint_vel": (robot.num_joints,),
        "path": (10, 2),
        "goal": (3,),
        "steering": (3,),
        **{f"{name}_mask": () for name in ("path", "goal", "steering")},
    }

    def size_of(model: ModelConfig) -> int:
        return ActorCritic(shapes, Servos.of(robot), model).num_parameters("actor")

    student, teacher = size_of(config.model), size_of(ModelConfig())
    assert 1.5e6 < student < 2.2e6
    assert student <= 0.2 * teacher
