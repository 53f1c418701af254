"""Evaluation of any policy on any task: whole episodes with mean actions, ended by the task's failure rule."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import isnan
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from protege.core.env import Env, Obs
from protege.core.files import writable_folder, write_atomically
from protege.core.runs.checkpoint import ZOO
from protege.core.runs.config import from_dict
from protege.core.runs.evaluation import (
    by_clip,
    default_simulator,
    evaluation_env,
    rounded_up,
    run_episodes,
    summarize,
    wilson_interval,
)
from protege.core.runs.load_policy import LoadedPolicy
from protege.core.tasks import Task
from protege.sim.env_config import EnvConfig, push_test

from .tasks import EVALUATED, EVALUATION_ONLY, env_overrides

SCHEMA_VERSION = 1
DATA, ARRAYS = "evaluation.json", "evaluation.npz"
TRACED_ENVS = 6


@dataclass
class Evaluation:
    """What an evaluation found.

    Attributes:
        data: plain data, the content of evaluation.json.
        arrays: of each task's episodes `<task>/error`, `<task>/failed`, and of some episodes on a way `trace/<i>`, (T, 4): where
            the pelvis was and where it should have been, x and y, m.
    """

    data: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write evaluation.json and evaluation.npz, each whole or not at all."""
        text = json.dumps(self.data, indent=2, allow_nan=False)
        write_atomically(folder / ARRAYS, lambda file: np.savez_compressed(file, **self.arrays))  # pyright: ignore[reportArgumentType]
        write_atomically(folder / DATA, lambda file: file.write(text.encode()))


def default_output(checkpoint: Path) -> Path:
    """The folder `evaluation` in the run of a checkpoint; in `results` for one that is shipped."""
    if str(checkpoint).startswith(ZOO):
        return Path("results") / str(checkpoint).removeprefix(ZOO) / "evaluation"
    return (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "evaluation"


def evaluate(
    loaded: LoadedPolicy,
    tasks: Sequence[str],
    num_episodes: int,
    *,
    num_envs: int = 64,
    seed: int = 0,
    push: float = 0.0,
    terrain: str | None = None,
    given: Sequence[str] = (),
    overrides: Sequence[str] = (),
    output: Path | None = None,
    tell: Callable[[str], None] = lambda task: None,
    **options: Any,
) -> Evaluation:
    """Play `num_episodes` of each task, each env equally many.

    Args:
        num_envs: at most.
        seed: of the commands; the same for every policy, so that two can be compared on the same ones.
        push: force that pushes the robots forward now and then, N; see `push_test`.
        terrain: `flat` or `gentle`, see `TerrainParams.kind`; by default the config's.
        given: of `Task.evaluation_only`, each `key.path=value`.
        overrides: of the config's `env` part, each `key.path=value`.
        output: tried for writing before anything is played.
        tell: called with each task's name when its envs are there.
        options: robot, simulator, motion_file, motion_split and device, see `protege.core.runs.evaluation.evaluation_env`.
    """
    if output is not None:
        writable_folder(output)
    options["simulator"] = options.get("simulator") or default_simulator(loaded, options.get("device", "auto"))
    given = [*given, *([f"env.terrain.kind={terrain}"] if terrain else [])]
    config = from_dict({"env": EnvConfig}, loaded.config, [*given, *overrides]).env
    asked = {"push": push} if push else {}
    ground, usual = config.terrain, EnvConfig()
    for key, (task, name) in EVALUATION_ONLY.items():
        value, default = (getattr(getattr(x, task.config_key), name) for x in (config, usual))
        asked |= {key: value} if value != default else {}
    asked |= {"motion_split": options["motion_split"]} if options.get("motion_split") else {}
    asked |= {"overrides": list(overrides)} if overrides else {}
    asked |= {"terrain": asdict(ground)} if ground.kind != "flat" else {}
    evaluation = Evaluation(facts(loaded, seed, options) | asked)
    envs = min(num_envs, num_episodes)
    plans = rounded_up(num_episodes, envs)  # no random command is met twice, as intervals suppose
    config = replace(config, mix_probability=0.0, num_plans=plans)
    config = replace(config, randomization=push_test(push)) if push else config
    for name in tasks:
        task = EVALUATED[name]
        env = evaluation_env(
            loaded,
            task.name,
            num_envs=envs,
            seed=seed,
            overrides=vars(config) | env_overrides(name),
            **options,
        )
        try:
            tell(name)
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


def facts(loaded: LoadedPolicy, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """What was evaluated, and how."""
    run, saved = loaded.config["run"], loaded.checkpoint
    return {
        "schema_version": SCHEMA_VERSION,
        "checkpoint": str(loaded.path),
        "kind": loaded.kind,
        "name": run["experiment_name"],
        "robot": loaded.robot,
        "simulator": options["simulator"],
        "motion_file": list(options.get("motion_file") or run["motion_file"]),
        "seed": seed,
        "actor_parameters": loaded.policy.num_parameters("actor"),
        "trained_samples": saved.samples,
        "trained_seconds": round(saved.seconds, 1),
        "versions": saved.versions,
        "tasks": {},
    }


def _result(
    task: Task, rows: dict[str, Tensor], failure_rule: str, dt: float, clip_names: Sequence[str]
) -> dict[str, Any]:
    """A task's entry in evaluation.json."""
    failed = rows["failed"]
    causes = {key.removeprefix("failed_by/"): rows[key] for key in rows if key.startswith("failed_by/")}
    unexplained = failed & ~torch.stack([*causes.values(), torch.zeros_like(failed)]).any(0)
    clips, limit = by_clip(rows, clip_names), task.strict_limit
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
        "clips": {name: _measured(task, part) for name, part in clips.items()} if len(clips) > 1 else {},
    }


def _measured(task: Task, rows: dict[str, Tensor]) -> dict[str, Any]:
    """Episodes, success by both rules and error. NaN becomes null: JSON has none."""
    summary = summarize(rows, task.column)
    strict: dict[str, Any] = {"strict_success": None, "strict_success_ci": None}
    if task.strict_limit is not None:
        kept = int((~rows["failed"] & (rows[f"{task.metric}/max"] <= task.strict_limit)).sum())
        strict = {
            "strict_success": kept / summary.episodes,
            "strict_success_ci": list(wilson_interval(kept, summary.episodes)),
        }
    return {key: _null_if_nan(value) for key, value in (summary.to_dict() | strict).items()}


def _null_if_nan(value: Any) -> Any:
    if isinstance(value, list):
        return None if any(isnan(x) for x in value) else value
    return None if isinstance(value, float) and isnan(value) else value


class _Trace:
    """Where the pelvis goes, and where it should, in the first episode of a few envs of a task that has a map."""

    def __init__(self, env: Env, task: Task) -> None:
        self.env, self.task = cast(Any, env), task
        self.envs = slice(0, min(TRACED_ENVS, env.num_envs))
        self.points: list[Tensor] = []

    def record(self) -> None:
        """Note this step's positions."""
        if self.task.trace is not None:
            wanted = self.task.trace(self.env.tasks[self.task.name].command)
            self.points.append(torch.cat([self.env.state.root_pos_w[:, :2], wanted], dim=1)[self.envs])

    def paths(self, rows: dict[str, Tensor]) -> list[np.ndarray]:
        """(T, 4) m each, as long as its episode: x and y of the pelvis, and of where it should be."""
        if not self.points:
            return []
        points = torch.stack(self.points).cpu().numpy()
        envs, lengths = rows["env_id"].tolist(), rows["length"].tolist()
        return [points[: int(lengths[envs.index(i)]), i] for i in range(points.shape[1])]
