"""Evaluation that plays every clip once, from its first frame to its last, and measures how well the policy tracks it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Any, cast

import torch

from protege.core.errors import UserError
from protege.core.files import writable_folder, write_atomically
from protege.core.progress import Progress
from protege.core.runs.evaluation import run_episodes, wilson_interval
from protege.core.runs.load_policy import LoadedPolicy
from protege.core.terminal import compact_table, console
from protege.core.terminal import print_table as print_rows
from protege.sim.tasks.every_clip import MAX_HEIGHT_ERROR, MAX_TILT_ERROR, rounds

from .conditions import Conditions
from .table import title
from .tasks import EVALUATED

ERRORS = {
    "mpjpe_mm": "cartesian_err",
    "root_relative_mpjpe_mm": "root_relative_err",
    "velocity_error_mm_per_frame": "velocity_err",
    "acceleration_error_mm_per_frame2": "acceleration_err",
}
"""Measures of each clip, and the env's metric from which each is computed; the metrics are in metres."""
SUCCESSES = ("success", "success_height_tilt")
NUM_WORST = 10


def evaluate_clips(loaded: LoadedPolicy, name: str, *, output: Path | None = None, **conditions: Any) -> dict[str, Any]:
    """Play each clip once, at most `Conditions.num_envs` at a time.

    Args:
        name: a task that tracks clips.
        output: folder; the function checks that it is writable before anything is played.
        conditions: fields of `Conditions`.

    Returns:
        the content of clips_<task>.json.

    Raises:
        UserError: the task has no clips; otherwise see `evaluate`.
    """
    require_clips(name)
    task, setup = EVALUATED[name], Conditions(**conditions)
    if output is not None:
        writable_folder(output)
    config = setup.env_config(loaded)
    config = replace(config, track=replace(config.track, every_clip=True))
    env = setup.make_env(loaded, name, config, setup.num_envs)
    try:
        policy, played, sim_env = loaded.policy.to(env.device), list[dict[str, Any]](), cast(Any, env)
        dt, total = env.robot.control_dt, len(env.clip_names)
        with Progress("clips played", total) as progress:
            for clips in rounds(sim_env.library, sim_env.tasks[task.name].command):
                rows = run_episodes(env, lambda obs: policy.distribution(obs)[0], env.num_envs)
                played += [_clip(rows, i, env.clip_names[clip], clip, dt) for i, clip in enumerate(clips)]
                progress.at(len(played))
    finally:
        env.close()
    played.sort(key=lambda row: row["index"])
    facts = {"motion_split": None} | setup.facts(loaded, config)
    return facts | _summary(task.failure_rule(getattr(config, task.config_key)), name, dt, played)


def require_clips(name: str) -> None:
    """Check that a task in `EVALUATED` tracks clips.

    Raises:
        UserError: the task does not track clips.
    """
    if EVALUATED[name].metric != "cartesian_err":
        raise UserError(f"--every-clip: the task {name} plays no clips", "Take --task track")


def _clip(rows: Mapping[str, torch.Tensor], env: int, name: str, index: int, dt: float) -> dict[str, Any]:
    """The results of the clip that one env played."""
    row = {key: float(x[env]) for key, x in rows.items()}
    lost, toppled = (bool(row[f"{rule}/last"]) for rule in ("lost", "toppled"))
    broken = bool(row["failed"]) and not (lost and toppled)  # the physics produced NaN
    errors = {key: 1000.0 * row[f"{metric}/mean"] for key, metric in ERRORS.items()}
    return {
        "clip": name,
        "index": index,
        "seconds": row["length"] * dt,
        "success": not lost and not broken,
        "success_height_tilt": not toppled and not broken,
        "followed_s": row["length"] * (1.0 - row["lost/mean"]) * dt,
        **{key: None if isnan(x) else x for key, x in errors.items()},
    }


def _summary(failure_rule: str, name: str, dt: float, played: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    count = len(played)
    data: dict[str, Any] = {
        "task": name,
        "frame_s": dt,
        "rules": {
            "success": f"a clip is lost if {failure_rule}",
            "success_height_tilt": f"a clip is lost if the root is more than {MAX_HEIGHT_ERROR:g} m off in height, "
            f"or its vertical axis more than {MAX_TILT_ERROR:g} rad",
        },
        "clips": count,
    }
    for rule in SUCCESSES:
        good = sum(row[rule] for row in played)
        data |= {rule: good / count, f"{rule}_ci": list(wilson_interval(good, count))}
    for key in ERRORS:
        data[key] = _mean([row[key] for row in played])
        data[f"{key}_of_successes"] = _mean([row[key] for row in played if row["success"]])
    return data | {"per_clip": list(played)}


def _mean(values: Sequence[float | None]) -> float | None:
    measured = [x for x in values if x is not None]
    return sum(measured) / len(measured) if measured else None


def worst(played: Sequence[Mapping[str, Any]], count: int = NUM_WORST) -> list[Mapping[str, Any]]:
    """The clips with the worst tracking: those that fail both rules first, then those that fail one, then by error."""

    def badness(row: Mapping[str, Any]) -> tuple[int, float]:
        error = row["mpjpe_mm"]
        return sum(not row[rule] for rule in SUCCESSES), float("inf") if error is None else error

    return sorted(played, key=badness, reverse=True)[:count]


def save_clips(data: Mapping[str, Any], folder: Path) -> Path:
    """Write `clips_<task>.json` and return its path."""
    path = folder / f"clips_{data['task'].replace('/', '_')}.json"
    text = json.dumps(data, indent=1, allow_nan=False)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def print_clips(data: Mapping[str, Any]) -> None:
    """Print the results over all clips, and those of the worst clips."""
    terminal = console()
    table = compact_table(f"{title(data)}: every clip, and the worst")
    table.add_column("clip")
    for head in ("s", "success", "height\ntilt", "MPJPE\nmm", "to root\nmm", "speed\nmm/fr.", "accel.\nmm/fr.²"):
        table.add_column(head, justify="right")
    shares = [f"{data[rule]:.1%}\n[{', '.join(f'{100 * x:.1f}' for x in data[f'{rule}_ci'])}]" for rule in SUCCESSES]
    seconds = sum(row["seconds"] for row in data["per_clip"])
    table.add_row(f"all {data['clips']}", f"{seconds:.0f}", *shares, *(_number(data[key]) for key in ERRORS))
    for row in worst(data["per_clip"]):
        marks = ["yes" if row[rule] else "no" for rule in SUCCESSES]
        table.add_row(
            f"  {row['clip']}", f"{row['seconds']:.1f}", *marks, *(_number(row[key]) for key in ERRORS), style="dim"
        )
    print_rows(table, terminal)
    for rule, words in data["rules"].items():
        terminal.print(f"{rule.replace('_', ' ')}: {words}", style="dim")
    terminal.print(f"errors: until the clip is lost by the first rule; a frame is {data['frame_s']:.3f} s", style="dim")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
