"""Plays the suite's factors with the tasks' own evaluation, and looks for the value at which a policy tips over."""

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
PASS = 0.9
SUITES = {"quick": (20, 2), "full": (100, 4)}
"""Episodes of each task and value, and rounds of bisection, by the suite's name."""
NOTHING = {"mismatch.effort": 1.0}
"""A change that changes nothing: the nominal world is played by the same code as the others."""


@dataclass(frozen=True)
class Settings:
    """What is played for every policy.

    Attributes:
        suite: of `SUITES`.
        tasks: names in `EVALUATED`.
        episodes: of each task and value.
        rounds: of bisection.
        pass_at: share of episodes that must succeed for a value to count as passed.
        factors: names of those in `FACTORS` that are played; none for all.
        conditions: fields of `Conditions`, the same for all values.
        tell: called before each value is played.
    """

    suite: str
    tasks: tuple[str, ...]
    episodes: int
    rounds: int
    pass_at: float = PASS
    factors: tuple[str, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)
    tell: Callable[[str], None] = lambda text: None


def measure(loaded: LoadedPolicy, settings: Settings) -> dict[str, Any]:
    """A policy's results, an entry of `policies` in robustness.json.

    Raises:
        UserError: see `evaluate`.
    """
    robot, under = driven_robot(loaded, settings.conditions.get("robot")), Conditions(**settings.conditions)
    where = Situation(robot, loaded.policy.sensors, under.simulator_of(loaded), settings.tasks)
    chosen = [factor for factor in FACTORS if factor.name in (settings.factors or [x.name for x in FACTORS])]
    settings.tell("nominal")
    nominal, facts = play(loaded, settings, settings.tasks, NOTHING)
    factors = [_factor(loaded, settings, factor, where, nominal) for factor in chosen]
    return {**facts, "nominal": nominal, "factors": factors, "together": _together(loaded, settings, chosen, where)}


def play(
    loaded: LoadedPolicy, settings: Settings, tasks: Sequence[str], changes: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One world: the results, and the facts of the evaluation without its results and changes."""
    evaluation = evaluate(loaded, tasks, settings.episodes, changes=changes, **settings.conditions)
    data, arrays = evaluation.data, evaluation.arrays
    found = {
        name: _survivors(x, arrays[f"{name}/error"], arrays[f"{name}/failed"]) for name, x in data["tasks"].items()
    }
    episodes = sum(x["episodes"] for x in found.values())
    succeeded = sum(round(x["success"] * x["episodes"]) for x in found.values())
    said = {key: x for key, x in data.items() if key not in ("tasks", "changes", "terrain", "schema_version")}
    ends = list(wilson_interval(succeeded, episodes))
    return {"episodes": episodes, "success": succeeded / episodes, "success_ci": ends, "tasks": found}, said


def _survivors(result: Mapping[str, Any], error: np.ndarray, failed: np.ndarray) -> dict[str, Any]:
    """A task's success, and the mean error of the episodes that did not fail."""
    kept = torch.from_numpy(error[~failed & ~np.isnan(error)])
    ends = mean_interval(kept)
    return {
        **{name: result[name] for name in ("episodes", "success", "success_ci", "falls")},
        "error": float(kept.double().mean()) if len(kept) else None,
        "error_ci": None if isnan(ends[0]) else list(ends),
        **{name: result[name] for name in ("error_name", "error_unit")},
    }


def _factor(
    loaded: LoadedPolicy, settings: Settings, factor: Factor, where: Situation, nominal: Mapping[str, Any]
) -> dict[str, Any]:
    """An entry of `factors`: the suite's values, those that the bisection tried, and the tipping point."""
    robot, reason = where.robot, factor.absent(where)
    about: dict[str, Any] = {name: getattr(factor, name) for name in ("name", "title", "unit", "switch")}
    about |= {"nominal": factor.nominal(robot), "absent": reason or None, "points": [], "tipping": None}
    if reason:
        return about
    tasks = (factor.task,) if factor.task else settings.tasks
    base = nominal["tasks"][factor.task] if factor.task else nominal

    def tried(value: float, by: str) -> dict[str, Any]:
        settings.tell(f"{factor.title}: {value:g} {factor.unit}")
        point, _ = play(loaded, settings, tasks, factor.changes(value, robot))
        return {"value": value, "by": by} | point

    values = dict.fromkeys(factor.actual(value, robot) for value in factor.of(settings.suite))
    points = [tried(value, "suite") for value in values]
    passed = base["success"] >= settings.pass_at

    def edges() -> tuple[float | None, float | None]:
        return tipping(points, about["nominal"] if passed else None, settings.pass_at)

    for _ in range(0 if factor.switch else settings.rounds):
        good, bad = edges()
        if good is None or bad is None:
            break
        between = factor.actual(round(0.5 * (good + bad), 6), robot)
        if between in (good, bad):  # the simulation knows nothing between them
            break
        points.append(tried(between, "bisection"))
    points.sort(key=lambda point: abs(point["value"] - about["nominal"]))
    good, bad = edges()
    return about | {"points": points, "tipping": {"passes": good, "fails": bad}}


def tipping(
    points: Sequence[Mapping[str, Any]], nominal: float | None, pass_at: float
) -> tuple[float | None, float | None]:
    """The last value that passes before the first that fails, and that one; None where there is none.

    Args:
        points: with `value` and `success`.
        nominal: the value of the nominal world, if that passes; None if nothing passes that is milder than the mildest value.
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
    loaded: LoadedPolicy, settings: Settings, factors: Sequence[Factor], where: Situation
) -> dict[str, Any] | None:
    """Mild values of all factors at once; None where there are fewer than two of them."""
    robot: Robot = where.robot
    joined = {x.name: x.actual(x.together, robot) for x in factors if x.together is not None and not x.absent(where)}
    if len(joined) < 2:
        return None
    changes: dict[str, Any] = {}
    for factor in factors:
        if factor.name in joined:
            changes |= factor.changes(joined[factor.name], robot)
    settings.tell("all together")
    return {"values": joined} | play(loaded, settings, settings.tasks, changes)[0]


def results(policies: Sequence[Mapping[str, Any]], settings: Settings) -> dict[str, Any]:
    """The content of robustness.json."""
    said = {
        "suite": settings.suite,
        "tasks": list(settings.tasks),
        "episodes": settings.episodes,
        "pass_at": settings.pass_at,
    }
    return {"schema_version": SCHEMA_VERSION, **said, "policies": list(policies)}


def save(data: Mapping[str, Any], folder: Path) -> Path:
    """Write robustness.json, whole or not at all."""
    text = json.dumps(data, indent=1, allow_nan=False)
    write_atomically(folder / DATA, lambda file: file.write(text.encode()))
    return folder / DATA
