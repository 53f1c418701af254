"""A student trained through a world model: it maximises its tasks' own rewards and stays near its teachers' actions."""

from dataclasses import dataclass, field
from typing import cast

from protege.core.env import Env, ImaginableEnv
from protege.core.learning.world_model.config import WorldModelConfig
from protege.core.learning.world_model.imagination import Anchor
from protege.core.learning.world_model.learner import WorldModelLearner
from protege.core.runs.config import Config
from protege.core.runs.load_policy import make_actor_critic
from protege.core.runs.loop import train_loop
from protege.core.runs.run import Run

from .config import TeacherModels
from .teachers_by_task import TeachersByTask, load_teachers


@dataclass
class WorldModelDistillConfig(WorldModelConfig):
    """How the student learns: see `WorldModelConfig`; `anchor_weight` keeps it near the teachers.

    Attributes:
        teacher_models: the teachers by name, one for each task in `env.task_mix`.
    """

    teacher_models: TeacherModels = field(default_factory=TeacherModels)


def train(run: Run, env: Env, config: Config) -> None:
    """Train a student on its own rewards in imagined episodes, from `run.checkpoint` if there is one.

    Raises:
        UserError: a teacher is missing or does not load, or a part of the config cannot be imagined.
    """
    teachers = load_teachers(config.agent.teacher_models, env.task_names, env, config.run, values=False)
    run.record_sources(teachers.digests)
    run.record_motions(teachers.motions)
    student, speed = make_actor_critic(env, config.model), (config.run.mixed_precision, config.run.compile)
    settings, envs = (config.agent, config.run.seed, run.group, speed), cast(ImaginableEnv, env)
    learner = WorldModelLearner(student, envs, *settings, anchor(teachers))
    train_loop(run, env, learner)


def anchor(teachers: TeachersByTask) -> Anchor:
    """The anchor actions: the mean actions (M, J) of each env's teacher."""
    return lambda obs, task_slices: teachers.label(obs, task_slices)["teacher_mean"]
