"""Evaluation of any policy on any task: whole episodes with mean actions, which end by the task's failure rule."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.files import writable_folder, write_atomically
from protege.core.runs.checkpoint import ZOO
from protege.core.runs.evaluation import (
    by_clip,
    driven_robot,
    rounded_up,
    run_episodes,
    summarize,
    wilson_interval,
)
from protege.core.runs.load_policy import LoadedPolicy
from protege.core.tasks import Task
from protege.sim.motion_quality import MEASURES
from protege.sim.render import Renderer

from .conditions import Conditions
from .films import SIZE, film_episodes
from .recording import Recording
from .results import ARRAYS, DATA
from .tasks import EVALUATED


@dataclass
class Evaluation:
    """Results of an evaluation.

    Attributes:
        data: plain data, the content of evaluation.json.
        arrays: for each task `<task>/error`, `<task>/failed` and those of `Recording.episodes`, (E,) for E episodes; for some
            episodes `trace/<i>`, (T, 4): x and y of the root's position and of its target, m.
        films: WebP files by their names below the folder.
    """

    data: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    films: dict[str, bytes] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write films, evaluation.npz and evaluation.json, each atomically."""
        text = json.dumps(self.data, indent=2, allow_nan=False)
        for name, film in self.films.items():
            write_atomically(folder / name, lambda file, film=film: file.write(film))
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
    films: int = 0,
    **conditions: Any,
) -> Evaluation:
    """Play `num_episodes` episodes of each task; each env plays the same number.

    Args:
        tasks: names in `EVALUATED`.
        output: folder; the function checks that it is writable before anything is played.
        on_task_start: called with each task's name once its envs exist.
        films: how many failed and how many successful episodes of each task are filmed.
        conditions: fields of `Conditions`.

    Raises:
        UserError: the conditions do not fit the policy, `output` cannot be written, or films cannot be drawn.
    """
    setup = Conditions(**conditions)
    if output is not None:
        writable_folder(output)
    config = setup.env_config(loaded)
    envs = min(setup.num_envs, num_episodes)
    evaluation = Evaluation(setup.facts(loaded, config) | {"num_envs": envs, "tasks": {}})
    # No random command is played twice: the confidence intervals assume independent episodes.
    config = replace(config, num_plans=rounded_up(num_episodes, envs))
    # Without OpenGL this fails before anything is played.
    with Renderer(driven_robot(loaded, setup.robot), *SIZE) if films else nullcontext() as renderer:
        for name in tasks:
            task, env = EVALUATED[name], setup.make_env(loaded, name, config, envs)
            try:
                on_task_start(name)
                rows, recording = _play(loaded, task, env, num_episodes, films=bool(films))
                rule = task.failure_rule(getattr(config, task.config_key))
                result = _result(task, rows, rule, env.robot.control_dt, env.clip_names)
                if renderer is not None:
                    result["films"], drawn = film_episodes(renderer, name, recording, rows, films)
                    evaluation.films |= drawn
            finally:
                env.close()
            evaluation.data["tasks"][name] = result
            columns = {"error": rows[task.column], "failed": rows["failed"]}
            found = {key: x.cpu().numpy() for key, x in columns.items()} | recording.episodes(rows)
            traced = sum(key.startswith("trace/") for key in evaluation.arrays)
            paths = {f"trace/{traced + i}": path for i, path in enumerate(recording.paths(rows))}
            evaluation.arrays |= paths | {f"{name}/{key}": x for key, x in found.items()}
    return evaluation


def _play(
    loaded: LoadedPolicy, task: Task, env: Env, num_episodes: int, *, films: bool
) -> tuple[dict[str, Tensor], Recording]:
    """Play the episodes of one task; returns the rows of `run_episodes` and what was recorded meanwhile."""
    policy, recording = loaded.policy.to(env.device), Recording(env, task, films=films)

    def act(obs: Obs) -> Tensor:
        recording.record()
        return policy.distribution(obs)[0]

    return run_episodes(env, act, num_episodes), recording


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
