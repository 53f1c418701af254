"""The teachers by task: the envs of each task are labelled by that task's teacher."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.errors import UserError
from protege.core.learning.accelerate import accelerate
from protege.core.runs.config import RunConfig
from protege.core.runs.load_policy import LoadedPolicy, load_to_act
from protege.core.tasks import tasks
from protege.teachers.teacher import Ensemble, Labeller, Teacher

from .config import TEACHER_OF_TASK, TeacherModels


class TeachersByTask:
    """The teachers by name. Each labels only the envs of its tasks.

    Args:
        digests: SHA-256 of the weights of each file that was loaded.
        motions: origins of the motions on which the teachers were trained; see `Checkpoint`.
    """

    def __init__(
        self,
        teachers: Mapping[str, Labeller],
        digests: Mapping[str, str] | None = None,
        motions: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self.teachers, self.digests, self.motions = dict(teachers), dict(digests or {}), list(motions)

    def label(self, obs: Obs, task_slices: Mapping[str, slice]) -> dict[str, Tensor]:
        """The label of each env's teacher: its action, and its value of the state.

        Args:
            obs: of all envs.
            task_slices: contiguous, in order; together they cover all envs.

        Returns:
            teacher_mean (N, J), in units of the action scale; teacher_spread (N, J), standard deviation across an ensemble, 0 for a
            single teacher; teacher_value (N,).
        """
        labels = [
            self.teachers[TEACHER_OF_TASK[task]].label({key: x[part] for key, x in obs.items()})
            for task, part in task_slices.items()
        ]
        spread = [torch.zeros_like(x.mean) if x.spread is None else x.spread for x in labels]
        means, values = [x.mean for x in labels], [x.value for x in labels]
        return {
            "teacher_mean": torch.cat(means),
            "teacher_spread": torch.cat(spread),
            "teacher_value": torch.cat(values),
        }


def load_teachers(models: TeacherModels, tasks: Iterable[str], env: Env, run: RunConfig) -> TeachersByTask:
    """Load the teachers of some tasks to the env's device.

    Raises:
        UserError: `agent.teacher_models.<name>.checkpoint` is empty, does not load, holds a policy of a kind that cannot teach
            the task, or does not fit the env; the error names the key.
    """
    names = dict.fromkeys(TEACHER_OF_TASK[task] for task in tasks)
    loaded = {name: _load(name, getattr(models, name).checkpoint, env, run) for name in names}
    digests = {str(one.path): one.digest for several in loaded.values() for one in several}
    motions = [origin for several in loaded.values() for one in several for origin in one.checkpoint.motions]
    return TeachersByTask({name: _labeller(several) for name, several in loaded.items()}, digests, motions)


def _labeller(loaded: list[LoadedPolicy]) -> Labeller:
    teachers = [Teacher(policy) for policy in loaded]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers)


def _load(name: str, paths: list[str], env: Env, run: RunConfig) -> list[LoadedPolicy]:
    key = f"agent.teacher_models.{name}"
    if not paths:
        raise UserError(
            f"{key}.checkpoint is empty", f"Add {key}.checkpoint=[results/NAME], or do without it: {key}.weight=0"
        )
    kinds = [task.kind for task in tasks().values() if task.taught_by == name]
    options = {
        "absent": f"Train it first, or do without: {key}.weight=0",
        "remedy": "Give the student the env config of its teachers (env.history_steps, env.future_frames, ...)",
    }
    loaded = [load_to_act(path, env, f"{key}.checkpoint[{i}]", kinds, **options) for i, path in enumerate(paths)]
    for policy in loaded:
        # Not compiled, because the number of envs that a teacher labels changes with each stage of the curriculum.
        accelerate(policy.policy, env.device, run.mixed_precision, compile=False)
    return loaded
