"""Cards of zoo entries, and metrics of their evaluations."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from protege.core.errors import UserError
from protege.core.motions.provenance import clip_count
from protege.core.runs.checkpoint import Checkpoint

from .entry import Entry, is_number


def read_metrics(evaluation: Path) -> dict[str, float]:
    """Read the numbers in an `evaluation.json` of `protege evaluate`, by `simulator/task/quantity`.

    The quantities are `episodes`, `success`, `error`, and the ends of the 95 % intervals, if known: `success_low`, `success_high`,
    `error_low`, `error_high`.

    Raises:
        UserError: the file is not an evaluation, or a task's error was not measured.
    """
    remedy = "Make one: protege evaluate --checkpoint RUN --output FOLDER"
    found = {}
    try:
        data = json.loads(evaluation.read_text(encoding="utf-8"))
        for task, facts in data["tasks"].items():
            name = f"{data['simulator']}/{task}"
            found |= {f"{name}/{key}": facts[key] for key in ("episodes", "success", "error")}
            for key in ("success", "error"):
                low, high = facts[f"{key}_ci"] or (None, None)
                found |= {} if low is None else {f"{name}/{key}_low": low, f"{name}/{key}_high": high}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{evaluation} is not the evaluation.json of an evaluation of tasks", remedy) from error
    for name, value in found.items():
        if not is_number(value):
            raise UserError(f"{evaluation}: {name} is {json.dumps(value)}: it was never measured", remedy)
    return {name: float(value) for name, value in found.items()}


def write_card(entry: Entry, saved: Checkpoint) -> str:
    """The card of an entry and its policy, in Markdown."""
    rows = [f"| {row} |" for row in _rows(entry.metrics)]
    header = ["| simulator | task | episodes | success | mean error, m or m/s |", "| --- | --- | --- | --- | --- |"]
    table = ["Evaluated with its mean actions; 95 % intervals.", "", *header, *rows] if rows else ["Not evaluated."]
    trained = f"A policy of kind `{entry.kind}`, trained on {saved.samples:,} transitions in {saved.seconds:,.0f} s."
    notes = ["", entry.notes] if entry.notes else []
    return "\n".join(
        [f"# {entry.name}", "", trained, "", f"    {entry.recipe}", "", *table, *notes, "", *_motions(saved), ""]
    )


MAX_LISTED_MOTIONS = 20
"""Largest number of motions that a card lists. More are counted by source and licence; config.yaml always lists all."""
NOT_STATED = "not said"


def _motions(saved: Checkpoint) -> list[str]:
    """The motions that a policy was trained on, their sources and their licences."""
    if not saved.motions:
        files = ", ".join(f"`{file}`" for file in saved.config.get("run", {}).get("motion_file", ())) or NOT_STATED
        return [f"Trained on motions whose origin it does not say: {files}."]
    intro = "Trained, its teachers included, on these motions; config.yaml has their whole SHA-256."
    if len(saved.motions) > MAX_LISTED_MOTIONS:
        count = Counter[tuple[str, str]]()
        for one in saved.motions:
            count[one["source"] or NOT_STATED, one["licence"] or NOT_STATED] += clip_count(one)
        head = "| source | licence | motions |"
        rows = [(*origin, str(number)) for origin, number in count.most_common(MAX_LISTED_MOTIONS)]
        left = count.total() - sum(number for _, number in count.most_common(MAX_LISTED_MOTIONS))
        rows += [("others", "see config.yaml", str(left))] if left else []
    else:
        head = "| motion | source | licence | sha256 |"
        rows = [
            (one["name"], one["source"] or NOT_STATED, one["licence"] or NOT_STATED, one["sha256"][:16])
            for one in saved.motions
        ]
    rule = "| " + " | ".join(["---"] * head.count(" | ")) + " | --- |"
    return [intro, "", head, rule, *(f"| {' | '.join(_cell(x) for x in row)} |" for row in rows)]


def _cell(text: str) -> str:
    """A text for a table cell, on one line."""
    return " ".join(text.split()).replace("|", "\\|")


HEADER = ("name", "kind", "weights", "measured in", "task: success, mean error, m or m/s")


def listing(entries: Sequence[Entry]) -> list[str]:
    """Lines of a table of entries, with a row for each simulator of their evaluations; empty without entries."""
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        weights = "yes" if entry.weights else "no, recipe only"
        facts = (entry.name, entry.kind, weights)
        for simulator, results in _by_simulator(entry.metrics).items() or [("nothing yet", "")]:
            rows.append((*facts, simulator, results))
            facts = ("", "", "")
    if not rows:
        return []
    widths = [max(len(row[i]) for row in (HEADER, *rows)) for i in range(len(HEADER))]
    return ["  ".join(x.ljust(n) for x, n in zip(row, widths, strict=True)).rstrip() for row in (HEADER, *rows)]


def _by_simulator(metrics: Mapping[str, float]) -> dict[str, str]:
    """Results by simulator, such as `path 100.0 %, 0.017  goal 99.6 %, 0.021`."""
    results: dict[str, list[str]] = {}
    for name in dict.fromkeys(key.rpartition("/")[0] for key in metrics):
        simulator, _, task = name.partition("/")
        shown = [
            f"{scale * metrics[f'{name}/{quantity}']:{form}}{unit}"
            for quantity, scale, form, unit in (("success", 100.0, ".1f", " %"), ("error", 1.0, ".3f", ""))
            if f"{name}/{quantity}" in metrics
        ]
        results.setdefault(simulator, []).append(f"{task} {', '.join(shown)}")
    return {simulator: "  ".join(tasks) for simulator, tasks in results.items()}


def _rows(metrics: Mapping[str, float]) -> list[str]:
    """One row for each simulator and task."""
    rows = []
    for name in dict.fromkeys(key.rpartition("/")[0] for key in metrics):
        simulator, _, task = name.partition("/")
        cells = [simulator, task, f"{metrics.get(f'{name}/episodes', 0):.0f}"]
        cells.append(_with_interval(metrics, f"{name}/success", 100.0, ".1f", " %"))
        rows.append(" | ".join([*cells, _with_interval(metrics, f"{name}/error", 1.0, ".3f", "")]))
    return rows


def _with_interval(metrics: Mapping[str, float], name: str, scale: float, form: str, unit: str) -> str:
    """Text such as `99.7 % [99.1, 99.9]`; without brackets if the interval is unknown."""
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return ""
    interval = "" if low is None or high is None else f" [{scale * low:{form}}, {scale * high:{form}}]"
    return f"{scale * value:{form}}{unit}{interval}"
