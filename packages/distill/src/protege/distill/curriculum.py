"""The curriculum: stages that share the run's budget, each with its own mix of tasks."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from protege.core.env import Env, Obs
from protege.core.errors import UserError
from protege.core.learning.learner import Learner
from protege.core.runs.loop import Hook

from .config import TEACHER_OF_TASK, Stage


def usable_stages(stages: Sequence[Stage], teacher_weights: Mapping[str, float]) -> list[Stage]:
    """The stages without tasks whose teacher has weight 0; stages that have no task left are dropped.

    Args:
        teacher_weights: weights by teacher name.

    Raises:
        UserError: a task is unknown, or no stage is left; the error names the key.
    """
    usable = []
    for i, stage in enumerate(stages):
        key = f"agent.curriculum[{i}]"
        if unknown := set(stage.task_mix) - set(TEACHER_OF_TASK):
            raise UserError(f"{key}.task_mix: unknown task {min(unknown)!r}", f"Known: {', '.join(TEACHER_OF_TASK)}")
        taught = {
            task: weight
            for task, weight in stage.task_mix.items()
            if weight > 0.0 and teacher_weights[TEACHER_OF_TASK[task]] > 0.0
        }
        if taught and stage.share > 0.0:
            usable.append(Stage(stage.name, stage.share, taught))
    if not usable:
        key = f"agent.teacher_models.{next(iter(teacher_weights))}.weight"
        raise UserError(
            "agent.curriculum has no stage with a task that has a teacher",
            f"Give a stage a share and a task, and its teacher a weight: {key}=1",
        )
    return usable


def stage_index(stages: Sequence[Stage], progress: float) -> int:
    """Index of the stage at `progress`, the used share of the budget, 0 to 1."""
    ends = list(accumulate(stage.share for stage in stages))
    unfinished = [i for i, end in enumerate(ends) if progress * ends[-1] < end]
    return unfinished[0] if unfinished else len(stages) - 1


def tasks_of(stages: Sequence[Stage]) -> list[str]:
    """All tasks of a curriculum, in order of first use."""
    return list(dict.fromkeys(task for stage in stages for task in stage.task_mix))


class TaskEnv(Env, Protocol):
    """An `Env` whose envs can be reassigned to tasks."""

    def set_task_mix(self, mix: dict[str, float]) -> Obs: ...


class Curriculum(Hook):
    """Reassigns the envs to tasks when a stage begins.

    Args:
        stages: in order; see `usable_stages`. `env` must already have the first stage's task mix.
        env: the envs in which the learner acts.
    """

    saved_state = ("stage",)

    def __init__(self, stages: Sequence[Stage], env: TaskEnv, learner: Learner) -> None:
        self.stages, self.env, self.learner = stages, env, learner
        self.stage = 0

    def before_rollout(self, progress: float) -> dict[str, float]:
        stage = stage_index(self.stages, progress)
        if stage != self.stage:
            self.stage, self.learner.obs = stage, self.env.set_task_mix(self.stages[stage].task_mix)
        return {"curriculum/stage": float(stage)}
