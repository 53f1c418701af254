"""One policy in several simulators: success and error in each, and the loss relative to the first."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from protege.core.files import write_atomically
from protege.core.runs.evaluation import difference_interval
from protege.core.terminal import compact_table, console
from protege.core.terminal import print_table as print_rows

from .table import share, with_interval

DATA = "simulators.json"
SCHEMA_VERSION = 1
COMMON_FIELDS = ("checkpoint", "kind", "name", "robot", "motion_file", "seed")
TASK_FIELDS = ("title", "episodes", "error_name", "error_unit", "failure_rule")
RESULT_FIELDS = ("success", "success_ci", "falls", "error", "error_ci")


def compare(evaluations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Compare the contents of evaluation.json of several simulators with those of the first.

    Returns:
        `tasks` by name: facts about the task, and in `simulators` by name its result with `drop`, the success lost
        relative to the first simulator, percentage points, `drop_ci`, its 95 % interval, and `error_ratio`, the error
        divided by the first one's. These are None for the first simulator; the ratio also where there is no error.
    """
    first, *_ = evaluations
    found = {name: evaluations[first][name] for name in COMMON_FIELDS} | {"schema_version": SCHEMA_VERSION, "tasks": {}}
    for task, base in evaluations[first]["tasks"].items():
        rows = {}
        for simulator, evaluation in evaluations.items():
            result = evaluation["tasks"][task]
            drop = _drop(base, result) if simulator != first else dict.fromkeys(("drop", "drop_ci", "error_ratio"))
            rows[simulator] = {name: result[name] for name in RESULT_FIELDS} | drop
        found["tasks"][task] = {name: base[name] for name in TASK_FIELDS} | {"simulators": rows}
    return found


def _drop(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The drop with its interval, and the error ratio."""
    drop = base["success"] - other["success"]
    ends = difference_interval(base["success"], base["success_ci"], other["success"], other["success_ci"])
    ratio = other["error"] / base["error"] if base["error"] and other["error"] is not None else None
    return {"drop": 100.0 * drop, "drop_ci": [100.0 * x for x in ends], "error_ratio": ratio}


def save(data: Mapping[str, Any], folder: Path) -> Path:
    """Write simulators.json atomically; returns its path."""
    text = json.dumps(data, indent=2, allow_nan=False)
    write_atomically(folder / DATA, lambda file: file.write(text.encode()))
    return folder / DATA


def print_comparison(data: Mapping[str, Any], terminal: Console | None = None) -> None:
    """Print one table for each task, with 95 % intervals below the values; see `table.print_table`."""
    terminal = terminal or console()
    for task, x in data["tasks"].items():
        policy = f"{data['name'] or data['checkpoint']}, seed {data['seed']}"
        title = f"{task}: {policy}, {x['episodes']} episodes; error: {x['error_name']}"
        table = compact_table(title)
        table.add_column("simulator")
        for name in ("success", "lost, points", "falls", f"error, {x['error_unit']}", "ratio"):
            table.add_column(name, justify="right")
        for simulator, row in x["simulators"].items():
            table.add_row(
                simulator,
                share(row["success"], row["success_ci"]),
                with_interval(row["drop"], row["drop_ci"], ".1f"),
                "–" if row["falls"] is None else str(row["falls"]),
                with_interval(row["error"], row["error_ci"], ".3f"),
                "–" if row["error_ratio"] is None else f"{row['error_ratio']:.2f}",
            )
        print_rows(table, terminal)
