"""Two evaluations side by side: their differences, and which of them exceed their 95 % intervals."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from protege.core.errors import UserError
from protege.core.runs.evaluation import difference_interval

from .page import display_names

SHARES = {"success": "success", "strict_success": "success, stricter"}
"""Keys of a task that are shares, which should be large, and their titles; all other measures should be small."""
RESULTS = ("tasks", "name", "checkpoint", "schema_version")
"""Keys of evaluation.json that are no settings."""
TASK_SETTINGS = ("episodes", "failure_rule", "strict_failure_rule")


def compare(evaluations: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> dict[str, Any]:
    """Compare the contents of two evaluation.json.

    Args:
        folders: their names in errors, and where the policies have the same name.

    Returns:
        `names` of the two; `settings` that differ, by name; and `tasks` by name: `title`, and `rows`, one for each measure, see
        `_row`.

    Raises:
        UserError: they are of different robots or tasks.
    """
    first, second = evaluations
    for key, remedy in (("robot", "Compare evaluations of one robot"), ("tasks", "Evaluate both with the same --task")):
        values = [x[key] if key == "robot" else ", ".join(sorted(x[key])) for x in evaluations]
        if values[0] != values[1]:
            raise UserError(f"{key}: {folders[0]} has {values[0]}, {folders[1]} has {values[1]}", remedy)
    names = display_names(evaluations)
    found = {"names": names if len(set(names)) == 2 else list(folders), "tasks": {}}
    found["settings"] = different(_settings(first), _settings(second))
    for name, x in first["tasks"].items():
        found["tasks"][name] = {"title": x["title"], "rows": list(_rows(x, second["tasks"][name]))}
    return found


def _rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The measures of a task that both evaluations have."""
    for key, title in SHARES.items():
        if first[key] is not None and second[key] is not None:
            values, intervals = zip(
                *((100.0 * x[key], [100.0 * y for y in x[f"{key}_ci"]]) for x in (first, second)), strict=True
            )
            yield _row(title, "%", values, intervals, larger_is_better=True)
    yield _row(
        "error", first["error_unit"], [x["error"] for x in (first, second)], [x["error_ci"] for x in (first, second)]
    )
    for key, measure in first.get("conduct", {}).items():
        if other := second.get("conduct", {}).get(key):
            both = (measure, other)
            yield _row(key.replace("_", " "), measure["unit"], [x["value"] for x in both], [x["ci"] for x in both])


def _row(
    title: str, unit: str, values: Sequence[Any], intervals: Sequence[Any], *, larger_is_better: bool = False
) -> dict[str, Any]:
    """One measure: `title`, `unit`, and `values` of both with their `intervals`.

    Besides, `difference`, the second value minus the first, its `interval`, and `better`: 0 or 1, which evaluation is better; None
    if the interval contains 0 or is unknown.
    """
    row = {"title": title, "unit": unit, "values": list(values), "intervals": list(intervals)}
    row |= dict.fromkeys(("difference", "interval", "better"))
    if None in values:
        return row
    row["difference"] = values[1] - values[0]
    if None in intervals:
        return row
    low, high = difference_interval(values[1], intervals[1], values[0], intervals[0])
    better = None if low <= 0.0 <= high else int((low > 0.0) == larger_is_better)
    return row | {"interval": [low, high], "better": better}


def verdicts(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Three answers: which evaluation succeeds more, errs less, and moves more gently.

    Args:
        data: see `compare`.

    Returns:
        for each its `question`; `leader`, 0 or 1 for the evaluation that is clearly better in more rows, else None; `value`, the
        answer in words; and of how many `rows` each is clearly better in how many, `wins`.
    """
    kinds = {
        "Which succeeds more?": lambda title: title in SHARES.values(),
        "Which errs less?": lambda title: title == "error",
        "Which moves more gently?": lambda title: title not in (*SHARES.values(), "error"),
    }
    answers = []
    for question, fits in kinds.items():
        rows = [row for x in data["tasks"].values() for row in x["rows"] if fits(row["title"])]
        wins = [sum(row["better"] == k for row in rows) for k in (0, 1)]
        leader = None if wins[0] == wins[1] else int(wins[1] > wins[0])
        undecided = "Each in part" if any(wins) else "No clear difference"
        value = undecided if leader is None else data["names"][leader]
        if rows:
            answers.append({"question": question, "leader": leader, "value": value, "wins": wins, "rows": len(rows)})
    return answers


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested mappings by their dotted keys."""
    found = {}
    for key, value in data.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def different(
    first: Mapping[str, Any], second: Mapping[str, Any], without: Set[str] = frozenset()
) -> dict[str, list[Any]]:
    """The values of the keys that differ, by key; None where one has no such key."""
    keys = dict.fromkeys((*first, *second))
    return {
        key: [first.get(key), second.get(key)]
        for key in keys
        if first.get(key) != second.get(key) and key not in without
    }


def _settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """What was evaluated under which conditions, by dotted keys."""
    tasks = {name: {key: x[key] for key in TASK_SETTINGS} for name, x in data["tasks"].items()}
    return flat({key: x for key, x in data.items() if key not in RESULTS} | {"tasks": tasks})
