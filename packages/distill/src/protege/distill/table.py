"""An evaluation in the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def print_table(data: Mapping[str, Any], console: Console | None = None) -> None:
    """Print one row a task, and the failure rules below.

    Args:
        data: the content of evaluation.json.
    """
    console = console or Console(highlight=False)
    title = f"{data['name'] or data['checkpoint']}, {data['simulator']}, seed {data['seed']}; 95 % intervals"
    table = Table("task", "episodes", "success", "stricter", "falls", "error", title=title, title_justify="left")
    for name, x in data["tasks"].items():
        table.add_row(
            name,
            str(x["episodes"]),
            _share(x["success"], x["success_ci"]),
            _share(x["strict_success"], x["strict_success_ci"]),
            "–" if x["falls"] is None else str(x["falls"]),
            f"{x['error_name']} {_number(x['error'], x['error_ci'])} {x['error_unit']}",
        )
    console.print(table)
    for name, x in data["tasks"].items():
        stricter = f"; stricter: {x['strict_failure_rule']}" if x["strict_failure_rule"] else ""
        console.print(f"{name}: {x['failure_rule']}{stricter}", style="dim")


def _share(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None or interval is None:
        return "–"
    return f"{value:.1%} [{interval[0]:.1%}, {interval[1]:.1%}]"


def _number(value: float | None, interval: Sequence[float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else "")
