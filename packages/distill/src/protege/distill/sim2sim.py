"""One policy in several simulators: success and error in each, and what is lost against the first."""

import json
from collections.abc import Mapping
from math import sqrt
from pathlib import Path
from typing import Any

from rich.console import Console

from protege.core.files import write_atomically
from protege.core.terminal import compact_table, console
from protege.core.terminal import print_table as print_rows

from .table import share, with_interval

DATA = "simulators.json"
SCHEMA_VERSION = 1
SHARED = ("checkpoint", "kind", "name", "robot", "motion_file", "seed")
OF_A_TASK = ("title", "episodes", "error_name", "error_unit", "failure_rule")
MEASURED = ("success", "success_ci", "falls", "error", "error_ci")


def compare(evaluations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Put the contents of evaluation.json side by side, by simulator; the first is what the others are measured against.

    Returns:
        `tasks`, by name: what the task is, and in `simulators`, by name, its result there with
        `drop`, how much success is lost, percentage points, `drop_ci`, its 95 % interval, and
        `error_ratio`, this error to the first one's. They are None for the first, and where there is no error.
    """
    first, *_ = evaluations
    found = {name: evaluations[first][name] for name in SHARED} | {"schema_version": SCHEMA_VERSION, "tasks": {}}
    for task, base in evaluations[first]["tasks"].items():
        rows = {}
        for simulator, evaluation in evaluations.items():
            result = evaluation["tasks"][task]
            lost = _lost(base, result) if simulator != first else dict.fromkeys(("drop", "drop_ci", "error_ratio"))
            rows[simulator] = {name: result[name] for name in MEASURED} | lost
        found["tasks"][task] = {name: base[name] for name in OF_A_TASK} | {"simulators": rows}
    return found


def _lost(base: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The interval is Newcombe's (1998, method 10), of two independent proportions."""
    p, (low, high) = base["success"], base["success_ci"]
    q, (other_low, other_high) = other["success"], other["success_ci"]
    drop = p - q
    ends = [drop - sqrt((p - low) ** 2 + (other_high - q) ** 2), drop + sqrt((high - p) ** 2 + (q - other_low) ** 2)]
    ratio = other["error"] / base["error"] if base["error"] and other["error"] is not None else None
    return {"drop": 100.0 * drop, "drop_ci": [100.0 * x for x in ends], "error_ratio": ratio}


def save(data: Mapping[str, Any], folder: Path) -> Path:
    """Write simulators.json, whole or not at all."""
    text = json.dumps(data, indent=2, allow_nan=False)
    write_atomically(folder / DATA, lambda file: file.write(text.encode()))
    return folder / DATA


def print_comparison(data: Mapping[str, Any], terminal: Console | None = None) -> None:
    """Print a table a task, each value above its 95 % interval; see `table.print_table`."""
    terminal = terminal or console()
    for task, x in data["tasks"].items():
        who = f"{data['name'] or data['checkpoint']}, seed {data['seed']}"
        title = f"{task}: {who}, {x['episodes']} episodes; error: {x['error_name']}"
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
