"""The training that each rank runs in `test_ranks.py`."""

import os
import signal
from itertools import count
from pathlib import Path
from typing import Any

import torch
from tiny import TEACHERS, ScriptedTeacher, student_config

from protege.core.env import Env, Step, env_plugin
from protege.core.learning.process_group import ProcessGroup
from protege.core.runs.run import Run
from protege.core.runs.training import rank_settings
from protege.distill.experiment import distil
from protege.distill.teachers_by_task import TeachersByTask


def train_student(group: ProcessGroup, folder: Path, *overrides: str, stop: bool = False) -> dict[str, Any]:
    """Run a distillation in this rank's envs; with `stop` the second rank gets SIGTERM in its second iteration."""
    config = student_config(folder, *overrides)
    torch.manual_seed(config.run.seed)
    env = env_plugin().make(rank_settings(config.run, group), config.env)
    if stop and group.rank == 1:
        terminate_at(env, config.agent.rollout_steps + 2)
    try:
        with Run(config, "student", env.robot, env.obs_shapes, group) as run:
            teachers = {name: ScriptedTeacher(0.1 * (i + 1), i + 1.0) for i, name in enumerate(TEACHERS)}
            distil(run, env, config, TeachersByTask(teachers), config.agent.curriculum)
        state, counts = env.state_dict(), env.statistics()
    finally:
        env.close()
    parts = run._parts
    student = parts["trainer"].state_dict()["distiller"]["student"]
    return {"student": student, "average": parts["policy"].state_dict(), "history": state["history"], "counts": counts}


def terminate_at(env: Env, call: int) -> None:
    """Send this process SIGTERM at a call of `env.step`."""
    step, calls = env.step, count(1)

    def counted(action: torch.Tensor) -> Step:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(action)

    env.step = counted
