"""Who labels which world: each task's worlds have their own teacher."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from protege.core.accelerate import accelerate
from protege.core.checkpoint import ZOO
from protege.core.config import RunConfig
from protege.core.env import Env, Obs
from protege.core.errors import UserError
from protege.core.experiments import load_policy
from protege.teachers.experiments import TASKS
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
        UserError: naming `agent.teacher_models.<name>.checkpoint`, if it is empty, does not load, is of a kind that
            cannot teach that, or does not fit the environment.
    """
    names = dict.fromkeys(TEACHER_OF_TASK[task] for task in tasks)
    return Tutors({name: _load(name, getattr(models, name).checkpoint, env, run) for name in names})


def _load(name: str, paths: list[str], env: Env, run: RunConfig) -> Labeller:
    key = f"agent.teacher_models.{name}"
    if not paths:
        raise UserError(
            f"{key}.checkpoint is empty", f"Add {key}.checkpoint=[results/NAME], or do without it: {key}.weight=0"
        )
    try:
        loaded = [load_policy(path, env.device, robot=env.robot.name) for path in paths]
    except UserError as error:
        remedy = (
            error.remedy
            if all(path.startswith(ZOO) or Path(path).exists() for path in paths)
            else f"Train it first, or do without: {key}.weight=0"
        )
        raise UserError(f"{key}.checkpoint: {error.problem}", remedy) from error
    for policy in loaded:
        if TEACHER_OF_TASK.get(TASKS.get(policy.kind, "")) != name:
            raise UserError(
                f"{key}.checkpoint: {policy.path} holds a {policy.kind}, which does not teach what a {name} does",
                f"Give the run of a {name}" + (" or a tracker" if name == "masked_mimic" else ""),
            )
        # Not compiled: how many worlds a teacher labels changes with every stage of the curriculum.
        accelerate(policy.policy, replace(run, compile=False), env.device)
        for seen_name in policy.policy.obs_keys:
            seen, given = tuple(policy.obs_shapes[seen_name]), tuple(env.obs_shapes[seen_name])
            if seen != given:
                raise UserError(
                    f"{key}.checkpoint: {policy.path} learned with {seen_name} of shape {seen}, here it is {given}",
                    "Give the student the env config of its teachers (env.history_steps, env.future_frames, ...)",
                )
    teachers = [Teacher(policy) for policy in loaded]
    return teachers[0] if len(teachers) == 1 else Ensemble(teachers)
