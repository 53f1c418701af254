"""The teachers by task: the envs of each task are labelled by that task's teacher."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.errors import UserError
from protege.core.learning.accelerate import accelerate
from protege.core.learning.policy import ActorCritic
from protege.core.learning.tokens import ONBOARD_TOKENS
from protege.core.runs.config import RunConfig
from protege.core.runs.load_policy import LoadedPolicy, load_to_act
from protege.core.tasks import tasks
from protege.teachers.teacher import Ensemble, Labeller, Teacher

from .config import TEACHER_OF_TASK, TeacherModels

STUDENT = "student"
"""Kind of the policies that distillation trains. A student may teach another one, for instance with fewer sensors."""
TRACKER = "tracker"
"""Kind of the full-body trackers. A tracker may teach every task: it tracks the reference that moves along the task's commands."""


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


def load_teachers(
    models: TeacherModels, tasks: Iterable[str], env: Env, run: RunConfig, *, values: bool = True
) -> TeachersByTask:
    """Load the teachers of some tasks to the env's device.

    Args:
        values: whether their values are needed; releases without a critic are then refused.

    Raises:
        UserError: `agent.teacher_models.<name>.checkpoint` is empty, does not load, holds a policy that cannot teach the task, or
            does not fit the env; the error names the key.
    """
    taught = dict[str, list[str]]()
    for task in tasks:
        taught.setdefault(TEACHER_OF_TASK[task], []).append(task)
    loaded = {
        name: _load(name, its_tasks, getattr(models, name).checkpoint, env, run, values)
        for name, its_tasks in taught.items()
    }
    digests = {str(one.path): one.digest for several in loaded.values() for one in several}
    motions = [origin for several in loaded.values() for one in several for origin in one.checkpoint.motions]
    return TeachersByTask({name: _labeller(several) for name, several in loaded.items()}, digests, motions)


def _labeller(loaded: list[LoadedPolicy]) -> Labeller:
    teachers = [Teacher(policy) for policy in loaded]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers)


def _load(
    name: str, its_tasks: list[str], paths: list[str], env: Env, run: RunConfig, values: bool
) -> list[LoadedPolicy]:
    key = f"agent.teacher_models.{name}"
    if not paths:
        raise UserError(
            f"{key}.checkpoint is empty", f"Add {key}.checkpoint=[results/NAME], or do without it: {key}.weight=0"
        )
    own = {task.kind for task in tasks().values() if task.taught_by == name}
    kinds = [*(own - {TRACKER}), TRACKER, STUDENT]
    options = {
        "absent": f"Train it first, or do without: {key}.weight=0",
        "remedy": "Give the student the env config of its teachers (env.history_steps, env.future_frames, ...)",
    }
    no_critic = "Give the run that it is from, or do without values: agent.value_distillation_weight=0"
    loaded = [
        load_to_act(path, env, f"{key}.checkpoint[{i}]", kinds, no_critic=no_critic if values else None, **options)
        for i, path in enumerate(paths)
    ]
    for i, policy in enumerate(loaded):
        if policy.kind == STUDENT:
            for task in its_tasks:
                _check_reads(f"{key}.checkpoint[{i}]", policy, task)
        # Not compiled, because the number of envs that a teacher labels changes with each stage of the curriculum.
        accelerate(policy.policy, env.device, run.mixed_precision, compile=False)
    return loaded


def _check_reads(key: str, student: LoadedPolicy, task: str) -> None:
    """Check that a student reads the commands of a task that it shall teach."""
    assert isinstance(student.policy, ActorCritic)
    modality = tasks()[task].modality
    token = "masked_poses" if modality is None else modality.name
    if not {token, ONBOARD_TOKENS.get(token)} & set(student.policy.actor_tokens):
        raise UserError(
            f"{key}: {student.path} is a student that does not read the commands of {task}", "Give another teacher"
        )
