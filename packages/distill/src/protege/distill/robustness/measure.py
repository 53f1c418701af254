"""Evaluates a policy at the values of each factor, and searches for the value at which it starts to fail."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch

from protege.core.files import write_atomically
from protege.core.robots.robot import Robot
from protege.core.runs.evaluation import driven_robot, mean_interval, wilson_interval
from protege.core.runs.load_policy import LoadedPolicy

from ..conditions import Conditions
from ..evaluate import evaluate
from .suite import FACTORS, Factor, Situation

DATA = "robustness.json"
SCHEMA_VERSION = 1
PASS_AT = 0.9
SUITES = {"quick": (20, 2), "full": (100, 4)}
"""Episodes of each task and value, and bisection steps, by the suite's name."""
NO_CHANGE = {"mismatch.effort": 1.0}
"""A change without effect, so that the nominal conditions are evaluated by the same code as the others."""


@dataclass(frozen=True)
class Settings:
    """The settings of a robustness test, the same for every policy.

    Attributes:
        suite: a name in `SUITES`.
        tasks: names in `EVALUATED`.
        episodes: number of episodes of each task and value.
        rounds: bisection steps.
        pass_at: share of episodes that must succeed for a value to pass.
        factors: names of the factors in `FACTORS` to vary; empty for all.
        conditions: fields of `Conditions`, the same for all values.
        report_progress: called with a line of text before each value is played.
    """

    suite: str
    tasks: tuple[str, ...]
    episodes: int
    rounds: int
    pass_at: float = PASS_AT
    factors: tuple[str, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    report_progress: Callable[[str], None] = lambda text: None


def measure(loaded: LoadedPolicy, settings: Settings) -> dict[str, Any]:
    """Test a policy; returns its entry of `policies` in robustness.json.

    Raises:
        UserError: see `evaluate`.
    """
    robot, setup = driven_robot(loaded, settings.conditions.get("robot")), Conditions(**settings.conditions)
    situation = Situation(robot, loaded.policy.sensors, setup.simulator_of(loaded), settings.tasks)
    chosen = [factor for factor in FACTORS if factor.name in (settings.factors or [x.name for x in FACTORS])]
    settings.report_progress("nominal")
    nominal, facts = play(loaded, settings, settings.tasks, NO_CHANGE)
    factors = [_factor(loaded, settings, factor, situation, nominal) for factor in chosen]
    return {**facts, "nominal": nominal, "factors": factors, "together": _together(loaded, settings, chosen, situation)}


def play(
    loaded: LoadedPolicy, settings: Settings, tasks: Sequence[str], changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluate under some changes; returns the results, and the facts of the evaluation without its results and changes."""
    evaluation = evaluate(loaded, tasks, settings.episodes, changes=changes, **settings.conditions)
    data, arrays = evaluation.data, evaluation.arrays
    found = {
        name: _task_result(x, arrays[f"{name}/error"], arrays[f"{name}/failed"]) for name, x in data["tasks"].items()
    }
    episodes = sum(x["episodes"] for x in found.values())
    succeeded = sum(round(x["success"] * x["episodes"]) for x in found.values())
    facts = {key: x for key, x in data.items() if key not in ("tasks", "changes", "terrain", "schema_version")}
    ends = list(wilson_interval(succeeded, episodes))
    return {"episodes": episodes, "success": succeeded / episodes, "success_ci": ends, "tasks": found}, facts


def _task_result(result: Mapping[str, Any], error: np.ndarray, failed: np.ndarray) -> dict[str, Any]:
    """A task's success, and the mean error of the episodes that did not fail."""
    errors = torch.from_numpy(error[~failed & ~np.isnan(error)])
    ends = mean_interval(errors)
    return {
        **{name: result[name] for name in ("episodes", "success", "success_ci", "falls")},
        "error": float(errors.double().mean()) if len(errors) else None,
        "error_ci": None if isnan(ends[0]) else list(ends),
        **{name: result[name] for name in ("error_name", "error_unit")},
    }


def _factor(
    loaded: LoadedPolicy, settings: Settings, factor: Factor, situation: Situation, nominal: Mapping[str, Any]
) -> dict[str, Any]:
    """An entry of `factors`: the results at the suite's values and at those of the bisection, and the tipping point."""
    robot, reason = situation.robot, factor.absent(situation)
    about: dict[str, Any] = {name: getattr(factor, name) for name in ("name", "title", "unit", "switch")}
    about |= {"nominal": factor.nominal(robot), "absent": reason or None, "points": [], "tipping": None}
    if reason:
        return about
    tasks = (factor.task,) if factor.task else settings.tasks
    base = nominal["tasks"][factor.task] if factor.task else nominal

    def evaluate_at(value: float, by: str) -> dict[str, Any]:
        settings.report_progress(f"{factor.title}: {value:g} {factor.unit}")
        point, _ = play(loaded, settings, tasks, factor.changes(value, robot))
        return {"value": value, "by": by} | point

    values = dict.fromkeys(factor.actual(value, robot) for value in factor.of(settings.suite))
    points = [evaluate_at(value, "suite") for value in values]
    passed = base["success"] >= settings.pass_at

    def bracket() -> tuple[float | None, float | None]:
        return tipping(points, about["nominal"] if passed else None, settings.pass_at)

    for _ in range(0 if factor.switch else settings.rounds):
        good, bad = bracket()
        if good is None or bad is None:
            break
        middle = factor.actual(round(0.5 * (good + bad), 6), robot)
        if middle in (good, bad):  # the simulation has no value between them
            break
        points.append(evaluate_at(middle, "bisection"))
    points.sort(key=lambda point: abs(point["value"] - about["nominal"]))
    good, bad = bracket()
    return about | {"points": points, "tipping": {"passes": good, "fails": bad}}


def tipping(
    points: Sequence[Mapping[str, Any]], nominal: float | None, pass_at: float
) -> tuple[float | None, float | None]:
    """The last value that passes before the first failure, and the first value that fails; None if there is none.

    Args:
        points: results with `value` and `success`.
        nominal: the nominal value if it passes, else None.
    """
    start = nominal if nominal is not None else points[0]["value"]
    ordered = sorted(points, key=lambda point: abs(point["value"] - start))
    good = nominal
    for point in ordered:
        if point["success"] < pass_at:
            return good, point["value"]
        good = point["value"]
    return good, None


def _together(
    loaded: LoadedPolicy, settings: Settings, factors: Sequence[Factor], situation: Situation
) -> dict[str, Any] | None:
    """Results at mild values of all factors at once; None if fewer than two factors can be combined."""
    robot: Robot = situation.robot
    present = [factor for factor in factors if not factor.absent(situation)]
    values = {x.name: x.actual(x.together, robot) for x in present if x.together is not None}
    if len(values) < 2:
        return None
    changes: dict[str, Any] = {}
    for factor in factors:
        if factor.name in values:
            changes |= factor.changes(values[factor.name], robot)
    settings.report_progress("all together")
    return {"values": values} | play(loaded, settings, settings.tasks, changes)[0]


def results(policies: Sequence[Mapping[str, Any]], settings: Settings) -> dict[str, Any]:
    """The content of robustness.json."""
    facts = {
        "suite": settings.suite,
        "tasks": list(settings.tasks),
        "episodes": settings.episodes,
        "pass_at": settings.pass_at,
    }
    return {"schema_version": SCHEMA_VERSION, **facts, "policies": list(policies)}


def save(data: Mapping[str, Any], folder: Path) -> Path:
    """Write robustness.json atomically; returns its path."""
    text = json.dumps(data, indent=1, allow_nan=False)
    write_atomically(folder / DATA, lambda file: file.write(text.encode()))
    return folder / DATA
