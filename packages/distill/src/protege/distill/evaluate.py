"""Evaluation of any policy on any task: whole episodes with mean actions, which end by the task's failure rule."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.files import writable_folder, write_atomically
from protege.core.runs.checkpoint import ZOO
from protege.core.runs.evaluation import (
    by_clip,
    rounded_up,
    run_episodes,
    summarize,
    wilson_interval,
)
from protege.core.runs.load_policy import LoadedPolicy
from protege.core.tasks import Task
from protege.sim.motion_quality import MEASURES

from .conditions import Conditions
from .tasks import EVALUATED

DATA, ARRAYS = "evaluation.json", "evaluation.npz"
TRACED_ENVS = 6


@dataclass
class Evaluation:
    """Results of an evaluation.

    Attributes:
        data: plain data, the content of evaluation.json.
        arrays: for each task `<task>/error` and `<task>/failed`, (E,) for E episodes; for some episodes `trace/<i>`, (T, 4): x and
            y of the root's position and of its target, m.
    """

    data: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write evaluation.json and evaluation.npz, each atomically."""
        text = json.dumps(self.data, indent=2, allow_nan=False)
        write_atomically(folder / ARRAYS, lambda file: np.savez_compressed(file, **self.arrays))  # pyright: ignore[reportArgumentType]
        write_atomically(folder / DATA, lambda file: file.write(text.encode()))


def default_output(checkpoint: Path) -> Path:
    """The folder `evaluation` in a checkpoint's run folder, or below `results` for a release."""
    if str(checkpoint).startswith(ZOO):
        return Path("results") / str(checkpoint).removeprefix(ZOO) / "evaluation"
    return (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "evaluation"


def evaluate(
    loaded: LoadedPolicy,
    tasks: Sequence[str],
    num_episodes: int,
    *,
    output: Path | None = None,
    on_task_start: Callable[[str], None] = lambda task: None,
    **conditions: Any,
) -> Evaluation:
    """Play `num_episodes` episodes of each task; each env plays the same number.

    Args:
        tasks: names in `EVALUATED`.
        output: folder; the function checks that it is writable before anything is played.
        on_task_start: called with each task's name once its envs exist.
        conditions: fields of `Conditions`.

    Raises:
        UserError: the conditions do not fit the policy, or `output` cannot be written.
    """
    setup = Conditions(**conditions)
    if output is not None:
        writable_folder(output)
    config = setup.env_config(loaded)
    evaluation = Evaluation(setup.facts(loaded, config) | {"tasks": {}})
    envs = min(setup.num_envs, num_episodes)
    # No random command is played twice: the confidence intervals assume independent episodes.
    config = replace(config, num_plans=rounded_up(num_episodes, envs))
    for name in tasks:
        task, env = EVALUATED[name], setup.make_env(loaded, name, config, envs)
        try:
            on_task_start(name)
            policy, trace = loaded.policy.to(env.device), _Trace(env, task)

            def act(obs: Obs, policy: Any = policy, trace: "_Trace" = trace) -> Tensor:
                trace.record()
                return policy.distribution(obs)[0]

            rows = run_episodes(env, act, num_episodes)
            traced = sum(key.startswith("trace/") for key in evaluation.arrays)
            evaluation.arrays |= {f"trace/{traced + i}": path for i, path in enumerate(trace.paths(rows))}
        finally:
            env.close()
        rule = task.failure_rule(getattr(config, task.config_key))
        evaluation.data["tasks"][name] = _result(task, rows, rule, env.robot.control_dt, env.clip_names)
        evaluation.arrays[f"{name}/error"] = rows[task.column].cpu().numpy()
        evaluation.arrays[f"{name}/failed"] = rows["failed"].cpu().numpy()
    return evaluation


def _result(
    task: Task, rows: dict[str, Tensor], failure_rule: str, dt: float, clip_names: Sequence[str]
) -> dict[str, Any]:
    """A task's entry in evaluation.json."""
    failed = rows["failed"]
    causes = {key.removeprefix("failed_by/"): rows[key] for key in rows if key.startswith("failed_by/")}
    unexplained = failed & ~torch.stack([*causes.values(), torch.zeros_like(failed)]).any(0)
    by_name, limit = by_clip(rows, clip_names), task.strict_limit
    clips = {name: _measured(task, part) | {"conduct": _motion_quality(part)} for name, part in by_name.items()}
    strict = limit and f"{task.metric} exceeds {limit:g} {task.unit} at any time, or fails"
    return {
        "title": task.title,
        "failure_rule": f"an episode fails if {failure_rule}",
        **_measured(task, rows),
        "strict_failure_rule": strict,
        "falls": int(causes["fallen"].sum()) if "fallen" in causes else None,
        "failed_by": {cause: int(x.sum()) for cause, x in causes.items()} | {"physics": int(unexplained.sum())},
        "error_name": task.metric,
        "error_unit": task.unit,
        "error_episodes": int((~rows[task.column].isnan()).sum()),
        "mean_length_s": float(rows["length"].double().mean()) * dt,
        "conduct": _motion_quality(rows),
        "clips": clips if len(clips) > 1 else {},
    }


def _motion_quality(rows: dict[str, Tensor]) -> dict[str, Any]:
    """How smoothly and gently the robots moved: for each measure its mean over the episodes that have one, and the interval."""
    found = {}
    for name, measure in MEASURES.items():
        summary = summarize(rows, measure.column(name))
        value, interval = _null_if_nan(summary.error), _null_if_nan(list(summary.error_ci))
        found[name] = {"value": value, "ci": interval, "unit": measure.unit, "title": measure.title}
    return found


def _measured(task: Task, rows: dict[str, Tensor]) -> dict[str, Any]:
    """Number of episodes, success by both rules, and error. NaN becomes None, because JSON has no NaN."""
    summary = summarize(rows, task.column)
    strict: dict[str, Any] = {"strict_success": None, "strict_success_ci": None}
    if task.strict_limit is not None:
        succeeded = int((~rows["failed"] & (rows[f"{task.metric}/max"] <= task.strict_limit)).sum())
        strict = {
            "strict_success": succeeded / summary.episodes,
            "strict_success_ci": list(wilson_interval(succeeded, summary.episodes)),
        }
    return {key: _null_if_nan(value) for key, value in (summary.to_dict() | strict).items()}


def _null_if_nan(value: Any) -> Any:
    if isinstance(value, list):
        return None if any(isnan(x) for x in value) else value
    return None if isinstance(value, float) and isnan(value) else value


class _Trace:
    """Root positions and their targets in the first episode of a few envs, for tasks that have a `trace`."""

    def __init__(self, env: Env, task: Task) -> None:
        self.env, self.task = cast(Any, env), task
        self.envs = slice(0, min(TRACED_ENVS, env.num_envs))
        self.points: list[Tensor] = []

    def record(self) -> None:
        """Record this step's positions."""
        if self.task.trace is not None:
            target = self.task.trace(self.env.tasks[self.task.name].command)
            self.points.append(torch.cat([self.env.state.root_pos_w[:, :2], target], dim=1)[self.envs])

    def paths(self, rows: dict[str, Tensor]) -> list[np.ndarray]:
        """The traces of the envs, each (T, 4) m for an episode of T steps: x and y of the root, then of its target."""
        if not self.points:
            return []
        points = torch.stack(self.points).cpu().numpy()
        envs, lengths = rows["env_id"].tolist(), rows["length"].tolist()
        return [points[: int(lengths[envs.index(i)]), i] for i in range(points.shape[1])]
