"""The table of an evaluation in the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from math import floor, log10
from typing import Any

from rich.console import Console

from protege.core.terminal import compact_table, console
from protege.core.terminal import print_table as print_rows

from .tasks import EVALUATION_ONLY


def print_table(data: Mapping[str, Any], terminal: Console | None = None) -> None:
    """Print two lines for each task, values above their 95 % intervals, and the failure rules below the table.

    In a terminal that is too narrow each row becomes a block of lines; no cell is cut.

    Args:
        data: the content of evaluation.json.
    """
    terminal = terminal or console()
    table = compact_table(f"{title(data)}; [95 % intervals]")
    table.add_column("task")
    for name in ("episodes", "success", "stricter", "falls"):
        table.add_column(name, justify="right")
    table.add_column("error")
    for name, x in data["tasks"].items():
        unit = f" {x['error_unit']}"
        table.add_row(
            name.replace("/", "/\n  "),
            str(x["episodes"]),
            share(x["success"], x["success_ci"]),
            share(x["strict_success"], x["strict_success_ci"]),
            "–" if x["falls"] is None else str(x["falls"]),
            f"{x['error_name']}\n{with_interval(x['error'], x['error_ci'], '.3f', unit)}",
        )
        for clip, y in short_names(x.get("clips", {})).items():
            shares = ("–" if y[key] is None else f"{y[key]:.1%}" for key in ("success", "strict_success"))
            error = with_interval(y["error"], None, ".3f", unit)
            table.add_row(f"  {clip}", str(y["episodes"]), *shares, "", error, style="dim")
    print_rows(table, terminal)
    for name, x in data["tasks"].items():
        stricter = f"; stricter: {x['strict_failure_rule']}" if x["strict_failure_rule"] else ""
        terminal.print(f"{name}: {x['failure_rule']}{stricter}", style="dim")


def title(data: Mapping[str, Any]) -> str:
    """The policy and the conditions as text.

    Args:
        data: contains `Conditions.facts`.
    """
    pushed = f", pushed with {data['push']:g} N" if "push" in data else ""
    only = "".join(f", the {task.name}'s {x} {data[key]}" for key, (task, x) in EVALUATION_ONLY.items() if key in data)
    changed = "".join(f", {override}" for override in data.get("overrides", []))
    ground = f", on {data['terrain']['kind']} terrain" if "terrain" in data else ""
    conditions = f"{data['simulator']}, seed {data['seed']}{pushed}{only}{ground}{changed}"
    return f"{data['name'] or data['checkpoint']}, {conditions}"


def with_interval(value: float | None, interval: Sequence[float] | None, form: str, unit: str = "") -> str:
    """A number above its interval, if there is one; a dash for None.

    Args:
        form: format specification of the number and of the interval's ends.
        unit: printed after the number.
    """
    if value is None:
        return "–"
    ends = f"\n[{', '.join(format(x, form) for x in interval)}]" if interval else ""
    return f"{value:{form}}{unit}{ends}"


def share(value: float | None, interval: Sequence[float] | None) -> str:
    """A share of episodes in percent, above its interval."""
    if value is None or interval is None:
        return "–"
    return with_interval(100.0 * value, [100.0 * x for x in interval], ".1f", "%")


def short_names(clips: Mapping[str, Any]) -> dict[str, Any]:
    """The clips without the words with which all names begin: `x_humanoid_walk`, `x_humanoid_run` -> `walk`, `run`."""
    words = [name.split("_") for name in clips]
    num_shared = len(list(takewhile(lambda same: len(set(same)) == 1, zip(*(x[:-1] for x in words), strict=False))))
    return {"_".join(x[num_shared:]): y for x, y in zip(words, clips.values(), strict=True)}


def decimals(values: Iterable[float | None]) -> int:
    """How many decimals show three significant digits of the largest value, at most six; None is left out."""
    largest = max((abs(x) for x in values if x is not None), default=0.0)
    return 3 if not largest else min(max(2 - floor(log10(largest)), 0), 6)
