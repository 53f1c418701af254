"""The answers on top of an evaluation's page: does it work, where is it worst, how does it move."""

from collections.abc import Mapping
from statistics import fmean
from typing import Any

from protege.core.runs.evaluation import wilson_interval

from .table import short_names
from .worst import worst_clips


def summary(data: Mapping[str, Any]) -> dict[str, Any]:
    """The answers as plain data.

    Args:
        data: the content of evaluation.json, with at least one task.

    Returns:
        `works` and `worst`: each a `value` in a few words and `lines` of text; `moves`: for each measure of motion quality its
        name, unit, mean over the tasks, and the task in which it is largest (None with one task).
    """
    return {"works": _works(data["tasks"]), "worst": _worst(data["tasks"]), "moves": _moves(data["tasks"])}


def _works(tasks: Mapping[str, Any]) -> dict[str, Any]:
    total = sum(x["episodes"] for x in tasks.values())
    good = sum(_successes(x) for x in tasks.values())
    lines = [f"{good} of {total} episodes succeed; {_percent(wilson_interval(good, total))} with 95 % confidence."]
    strict = {name: x for name, x in tasks.items() if x["strict_success"] is not None}
    if strict:
        share = sum(x["strict_success"] * x["episodes"] for x in strict.values())
        of = sum(x["episodes"] for x in strict.values())
        lines.append(f"By the stricter rule, where there is one: {share / of:.1%}.".replace("%", " %"))
    return {"value": f"{100 * good / total:.1f} %", "lines": lines}


def _worst(tasks: Mapping[str, Any]) -> dict[str, Any]:
    """The task with the lowest success; where all have succeeded, by the stricter rule."""

    def goodness(x: Mapping[str, Any]) -> tuple[float, float]:
        return x["success"], 1.0 if x["strict_success"] is None else x["strict_success"]

    worst = min(tasks.values(), key=goodness)
    if goodness(worst) == (1.0, 1.0):
        return {"value": "No failures", "lines": ["Every episode of every task succeeds.", *_clip_line(tasks)]}
    if worst["success"] == 1.0:
        lines = [f"No episode fails; {100 * worst['strict_success']:.1f} % succeed by the stricter rule."]
        return {"value": worst["title"], "lines": [*lines, *_clip_line(tasks)]}
    lines = [f"{100 * worst['success']:.1f} % succeed ({_percent(worst['success_ci'])})."]
    cause, count = max(worst["failed_by"].items(), key=lambda x: x[1])
    failures = worst["episodes"] - _successes(worst)
    lines.append(f"Most frequent cause: {cause.replace('_', ' ')}, in {count} of {failures} failures.")
    return {"value": worst["title"], "lines": [*lines, *_clip_line(tasks)]}


def _clip_line(tasks: Mapping[str, Any]) -> list[str]:
    """The worst clip of the first task that has several."""
    for x in tasks.values():
        if clips := short_names(x.get("clips", {})):
            name = worst_clips(clips)[0]
            error = clips[name]["error"]
            measured = "" if error is None else f", {error:.3f} {x['error_unit']}"
            return [f"Worst clip: {name}, {100 * clips[name]['success']:.1f} % succeed{measured}."]
    return []


def _moves(tasks: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Motion quality over the tasks; empty for older results, which have none."""
    measures = next(iter(tasks.values())).get("conduct", {})
    found = []
    for name, measure in measures.items():
        values = {x["title"]: x["conduct"][name]["value"] for x in tasks.values()}
        values = {title: value for title, value in values.items() if value is not None}
        largest = max(values, key=lambda title: values[title]) if len(values) > 1 else None
        mean = fmean(values.values()) if values else None
        words = name.replace("_", " ")
        found.append({"name": words, "unit": measure["unit"], "mean": mean, "largest": largest})
    return found


def _successes(x: Mapping[str, Any]) -> int:
    return round(x["success"] * x["episodes"])


def _percent(interval: Any) -> str:
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f} %"
