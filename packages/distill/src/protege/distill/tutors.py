"""Who labels which world: each task's worlds have their own teacher."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from protege.core.accelerate import accelerate
from protege.core.config import RunConfig
from protege.core.env import Env, Obs
from protege.core.errors import UserError
from protege.core.experiments import load_policy
from protege.teachers.teacher import Ensemble, Labeller, Teacher

from .config import TEACHER_OF_TASK, TeacherModels


class Tutors:
    """The teachers by name. Each sees only the worlds of its tasks."""

    def __init__(self, teachers: Mapping[str, Labeller]) -> None:
        self.teachers = dict(teachers)

    def label(self, obs: Obs, task_slices: Mapping[str, slice]) -> dict[str, Tensor]:
        """What each world's teacher would do and what it thinks that is worth.

        Args:
            obs: of all worlds.
            task_slices: contiguous, in order, and together all worlds.

        Returns:
            teacher_mean, teacher_std (N, J) rad; teacher_value (N,).
        """
        labels = [
            self.teachers[TEACHER_OF_TASK[task]].label({key: x[part] for key, x in obs.items()})
            for task, part in task_slices.items()
        ]
        return {f"teacher_{name}": torch.cat([getattr(x, name) for x in labels]) for name in ("mean", "std", "value")}


def load_tutors(models: TeacherModels, tasks: Iterable[str], env: Env, run: RunConfig) -> Tutors:
    """Load the teachers that some tasks need, to the environment's device.

    Raises:
        UserError: naming `agent.teacher_models.<name>.checkpoint`, if it is empty, does not load, or does not fit the environment.
    """
    names = dict.fromkeys(TEACHER_OF_TASK[task] for task in tasks)
    return Tutors(
        {name: _load(f"agent.teacher_models.{name}", getattr(models, name).checkpoint, env, run) for name in names}
    )


def _load(key: str, paths: list[str], env: Env, run: RunConfig) -> Labeller:
    if not paths:
        raise UserError(
            f"{key}.checkpoint is empty", f"Add {key}.checkpoint=[results/NAME], or do without it: {key}.weight=0"
        )
    try:
        loaded = [load_policy(path, env.device, robot=env.robot.name) for path in paths]
    except UserError as error:
        raise UserError(f"{key}.checkpoint: {error.problem}", error.remedy) from error
    for policy in loaded:
        accelerate(policy.policy, run, env.device)
        for name in policy.policy.obs_keys:
            seen, given = tuple(policy.obs_shapes[name]), tuple(env.obs_shapes[name])
            if seen != given:
                raise UserError(
                    f"{key}.checkpoint: {policy.path} learned with {name} of shape {seen}, here it is {given}",
                    "Give the student the env config of its teachers (env.history_steps, env.future_frames, ...)",
                )
    teachers = [Teacher(policy) for policy in loaded]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers)
