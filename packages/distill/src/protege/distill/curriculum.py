"""The order in which tasks come: stages of the run's budget, each a mix of tasks."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from protege.core.errors import UserError
from protege.core.learning.optim import cosine_rate

from .config import TEACHER_OF_TASK, DistillConfig, Stage


def usable_stages(stages: Sequence[Stage], teacher_weights: Mapping[str, float]) -> list[Stage]:
    """The stages without the tasks whose teacher has weight 0, and without those that then have no task.

    Args:
        teacher_weights: by the teacher's name.

    Raises:
        UserError: naming the key, on an unknown task, a negative number, or if nothing is left.
    """
    kept = []
    for i, stage in enumerate(stages):
        key = f"agent.curriculum[{i}]"
        if unknown := set(stage.task_mix) - set(TEACHER_OF_TASK):
            raise UserError(f"{key}.task_mix: unknown task {min(unknown)!r}", f"Known: {', '.join(TEACHER_OF_TASK)}")
        if stage.share < 0.0 or any(weight < 0.0 for weight in stage.task_mix.values()):
            raise UserError(f"{key} ({stage.name}) has a negative share or weight", "Take 0 to leave something out")
        taught = {
            task: weight
            for task, weight in stage.task_mix.items()
            if weight > 0.0 and teacher_weights[TEACHER_OF_TASK[task]] > 0.0
        }
        if taught and stage.share > 0.0:
            kept.append(Stage(stage.name, stage.share, taught))
    if not kept:
        raise UserError(
            "agent.curriculum has no stage with a task that has a teacher",
            "Give a stage a share and a task, and its teacher a weight: agent.teacher_models.path_follower.weight=1",
        )
    return kept


def stage_index(stages: Sequence[Stage], progress: float) -> int:
    """Which stage it is when `progress` of the budget, 0 to 1, is spent."""
    ends = list(accumulate(stage.share for stage in stages))
    reached = [i for i, end in enumerate(ends) if progress * ends[-1] < end]
    return reached[0] if reached else len(stages) - 1


def task_mix(stages: Sequence[Stage], progress: float) -> dict[str, float]:
    """Weight of each task when `progress` of the budget is spent."""
    return stages[stage_index(stages, progress)].task_mix


def learning_rate(config: DistillConfig, progress: float) -> float:
    """From `learning_rate` to `min_learning_rate` along half a cosine."""
    return cosine_rate(config.learning_rate, config.min_learning_rate, progress)


def ppo_factor(config: DistillConfig, progress: float) -> float:
    """By how much PPO's terms are on, 0 to 1."""
    if progress < config.ppo_start:
        return 0.0
    return min(1.0, (progress - config.ppo_start) / config.ppo_ramp) if config.ppo_ramp > 0.0 else 1.0


def teacher_share(config: DistillConfig, iteration: int) -> float:
    """Share of the worlds in which the teachers act, 1 to 0."""
    return max(0.0, 1.0 - iteration / max(config.teacher_iterations, 1))
