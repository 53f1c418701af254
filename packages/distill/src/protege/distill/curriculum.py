"""The order in which tasks come: stages of the run's budget, each a mix of tasks."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Protocol

from protege.core.env import Env, Obs
from protege.core.errors import UserError
from protege.core.learning.learner import Learner
from protege.core.runs.loop import Hook

from .config import TEACHER_OF_TASK, Stage


def usable_stages(stages: Sequence[Stage], teacher_weights: Mapping[str, float]) -> list[Stage]:
    """The stages without the tasks whose teacher has weight 0, and without those that then have no task.

    Args:
        teacher_weights: by the teacher's name.

    Raises:
        UserError: naming the key, on an unknown task, or if nothing is left.
    """
    kept = []
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
            kept.append(Stage(stage.name, stage.share, taught))
    if not kept:
        key = f"agent.teacher_models.{next(iter(teacher_weights))}.weight"
        raise UserError(
            "agent.curriculum has no stage with a task that has a teacher",
            f"Give a stage a share and a task, and its teacher a weight: {key}=1",
        )
    return kept


def stage_index(stages: Sequence[Stage], progress: float) -> int:
    """Which stage it is when `progress` of the budget, 0 to 1, is spent."""
    ends = list(accumulate(stage.share for stage in stages))
    reached = [i for i, end in enumerate(ends) if progress * ends[-1] < end]
    return reached[0] if reached else len(stages) - 1


def tasks_of(stages: Sequence[Stage]) -> list[str]:
    """All tasks of a curriculum, in the order in which they come."""
    return list(dict.fromkeys(task for stage in stages for task in stage.task_mix))


class TaskEnv(Env, Protocol):
    """An environment whose copies can be dealt out anew among tasks."""

    def set_task_mix(self, mix: dict[str, float]) -> Obs: ...


class Curriculum(Hook):
    """Deals the environments out anew among tasks when a stage begins.

    Args:
        stages: in order; see `usable_stages`. The environment's mix is the first one's.
        env: that the learner acts in.
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
