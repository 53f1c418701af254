"""The table of a robustness test in the terminal and as Markdown, and text that the HTML page shares with it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from protege.core.terminal import compact_table, console
from protege.core.terminal import print_table as print_rows

from ..table import share


def print_table(data: Mapping[str, Any], terminal: Console | None = None) -> None:
    """Print a table for each policy: each factor's values with success and its 95 % interval, and its tipping point."""
    terminal = terminal or console()
    for policy in data["policies"]:
        conditions = f"{policy['simulator']}, seed {policy['seed']}, {', '.join(data['tasks'])}"
        table = compact_table(f"{policy['name'] or policy['checkpoint']}: {conditions}; [95 % intervals]")
        for name in ("factor", "value"):
            table.add_column(name)
        for name in ("episodes", "success", "error"):
            table.add_column(name, justify="right")
        table.add_column("tips over")
        for name, value, point, tips in rows(policy):
            cells = ("–", "–", "–") if point is None else _cells(point, policy["nominal"])
            table.add_row(name, value, *cells, tips)
        print_rows(table, terminal)
        for factor in policy["factors"]:
            if factor["absent"]:
                terminal.print(f"{factor['name']}: not varied, {factor['absent']}", style="dim")
    legend = f"tips over: success falls below {data['pass_at']:.0%}; *: a value that the bisection tried"
    terminal.print(f"{legend}; error: of episodes that did not fail, to that in the nominal world", style="dim")


def rows(policy: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any] | None, str]]:
    """Rows of a policy's table: factor, value, result, tipping point. Only a factor's first row has its name and tipping point."""
    found: list[tuple[str, str, Mapping[str, Any] | None, str]] = [("nominal", "", policy["nominal"], "")]
    for factor in policy["factors"]:
        if factor["absent"]:
            found.append((factor["name"], "not varied", None, ""))
        for index, point in enumerate(factor["points"]):
            value = amount(point["value"], factor) + ("*" if point["by"] == "bisection" else "")
            found.append((factor["name"] if not index else "", value, point, tips(factor) if not index else ""))
    if policy["together"]:
        found.append(("together, mild", "", policy["together"], ""))
    return found


def amount(value: float, factor: Mapping[str, Any]) -> str:
    """A value with its unit."""
    return factor["unit"] if factor["switch"] else f"{value:.4g} {factor['unit']}"


def tips(factor: Mapping[str, Any]) -> str:
    """The tipping point as text."""
    if factor["tipping"] is None:
        return ""
    good, bad = factor["tipping"]["passes"], factor["tipping"]["fails"]
    if bad is None:
        return "beyond " + amount(factor["points"][-1]["value"], factor)
    if good is None:
        return "nominal fails"
    return "when on" if factor["switch"] else f"{good:.4g} to {amount(bad, factor)}"


def error_ratio(point: Mapping[str, Any], nominal: Mapping[str, Any]) -> float | None:
    """Error of the episodes that did not fail, relative to the nominal error: mean over the tasks that have both, or None."""
    pairs = [(x["error"], nominal["tasks"][name]["error"]) for name, x in point["tasks"].items()]
    ratios = [error / base for error, base in pairs if error is not None and base]
    return sum(ratios) / len(ratios) if ratios else None


def _cells(point: Mapping[str, Any], nominal: Mapping[str, Any]) -> tuple[str, str, str]:
    ratio, success = error_ratio(point, nominal), share(point["success"], point["success_ci"])
    return str(point["episodes"]), success, "–" if ratio is None else f"× {ratio:.2f}"


def markdown(data: Mapping[str, Any]) -> str:
    """The same as Markdown, a table for each policy: success in percent with its interval, and success of each task."""
    lines: list[str] = []
    for policy in data["policies"]:
        tasks = list(policy["nominal"]["tasks"])
        heads = ["factor", "value", "episodes", "success", *tasks, "error", "tips over"]
        lines += [
            f"{policy['name'] or policy['checkpoint']}, {policy['robot']}, {policy['simulator']}, seed {policy['seed']}:",
            "",
        ]
        lines += [f"| {' | '.join(heads)} |", f"| {' | '.join('---' for _ in heads)} |"]
        for name, value, point, tips in rows(policy):
            if point is None:
                lines.append(f"| {name} | {value} | {'| ' * (len(tasks) + 3)} |")
                continue
            low, high = (100.0 * x for x in point["success_ci"])
            found = [point["tasks"].get(task) for task in tasks]
            cells = [name, value.replace("*", " (b)"), str(point["episodes"])]
            cells += [f"{100.0 * point['success']:.0f} [{low:.0f}, {high:.0f}]"]
            cells += ["" if x is None else f"{100.0 * x['success']:.0f}" for x in found]
            ratio = error_ratio(point, policy["nominal"])
            cells += ["–" if ratio is None else f"× {ratio:.2f}", tips]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *(f"{x['name']}: not varied, {x['absent']}." for x in policy["factors"] if x["absent"]), ""]
    lines.append("Success in percent, with Wilson's 95 % intervals; (b): a value that the bisection tried.")
    return "\n".join(lines) + "\n"
