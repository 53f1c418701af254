"""The experiments behind `train distillation/...`: distil the teachers into a student in stages, with periodic evaluation."""

from collections.abc import Sequence
from typing import cast

from protege.core.env import Env
from protege.core.learning.accelerate import accelerate
from protege.core.learning.learner import Learner
from protege.core.learning.policy import ModelConfig
from protege.core.runs.config import Config
from protege.core.runs.load_policy import make_actor_critic
from protege.core.runs.loop import train_loop
from protege.core.runs.run import Run
from protege.core.runs.training import Experiment

from . import world_model
from .averaging import WeightAverage
from .config import DistillConfig, Stage
from .curriculum import Curriculum, TaskEnv, tasks_of, usable_stages
from .distillation import Distillation
from .periodic_evaluation import PeriodicEvaluation
from .teachers_by_task import STUDENT, TeachersByTask, load_teachers
from .world_model import WorldModelDistillConfig


def train(run: Run, env: Env, config: Config) -> None:
    """Distil the teachers at `agent.teacher_models` into a student.

    Raises:
        UserError: a teacher is missing or does not load, or the curriculum is not usable.
    """
    models, one_stage = config.agent.teacher_models, Stage("all", 1.0, dict(config.env.task_mix))
    stages = usable_stages(config.agent.curriculum or [one_stage], models.weights())
    values = config.agent.value_distillation_weight > 0.0
    teachers = load_teachers(models, tasks_of(stages), env, config.run, values=values)
    run.record_sources(teachers.digests)
    run.record_motions(teachers.motions)
    distil(run, cast(TaskEnv, env), config, teachers, stages)


def distil(run: Run, env: TaskEnv, config: Config, teachers: TeachersByTask, stages: Sequence[Stage]) -> None:
    """Train a student, from the run's last checkpoint if there is one. The average of its weights is saved and evaluated.

    Args:
        teachers: for each task of the stages.
        stages: in order; see `usable_stages`.
    """
    agent: DistillConfig = config.agent
    obs = env.set_task_mix(stages[0].task_mix)
    student = make_actor_critic(env, config.model)
    learner = Learner(Distillation(student, teachers, agent), obs, config.run.seed, run.group)
    average = WeightAverage(student, agent.weight_averaging)
    # After the average has copied the student, so that the copy is not compiled.
    accelerate(student, env.device, config.run.mixed_precision, config.run.compile)
    evaluation = PeriodicEvaluation(run, config, tasks_of(stages), average.model)
    train_loop(run, env, learner, [Curriculum(stages, env, learner), average, evaluation], average.model)


EXPERIMENTS = {
    "distillation": Experiment(STUDENT, {"agent": DistillConfig, "model": ModelConfig}, train),
    "distillation/world_model": Experiment(
        STUDENT, {"agent": WorldModelDistillConfig, "model": ModelConfig}, world_model.train
    ),
}
"""By preset name, or by its first part."""
