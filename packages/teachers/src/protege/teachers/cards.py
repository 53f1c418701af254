"""The card of a zoo's entry, and the metrics of its evaluations."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from protege.core.errors import UserError
from protege.core.motions.provenance import clip_count
from protege.core.runs.checkpoint import Checkpoint

from .entry import Entry, is_number


def read_metrics(evaluation: Path) -> dict[str, float]:
    """Numbers of an `evaluation.json` of `protege evaluate`, by `simulator/task/quantity`.

    The quantities are `episodes`, `success` and `error`, and the ends of their 95 % intervals, `success_low`, `success_high`,
    `error_low` and `error_high`, where there are any.

    Raises:
        UserError: it is not one, or says nothing about a task's error.
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
    """The card of an entry and its policy, Markdown."""
    rows = [f"| {row} |" for row in _rows(entry.metrics)]
    header = ["| simulator | task | episodes | success | mean error, m or m/s |", "| --- | --- | --- | --- | --- |"]
    table = ["Evaluated with its mean actions; 95 % intervals.", "", *header, *rows] if rows else ["Not evaluated."]
    trained = f"A policy of kind `{entry.kind}`, trained on {saved.samples:,} transitions in {saved.seconds:,.0f} s."
    notes = ["", entry.notes] if entry.notes else []
    return "\n".join(
        [f"# {entry.name}", "", trained, "", f"    {entry.recipe}", "", *table, *notes, "", *_motions(saved), ""]
    )


LISTED = 20
"""A card lists so many motions one by one. If there are more it counts them by source and licence; config.yaml lists them all."""
UNSAID = "not said"


def _motions(saved: Checkpoint) -> list[str]:
    """The motions that a policy was trained on, their sources and their licences."""
    if not saved.motions:
        files = ", ".join(f"`{file}`" for file in saved.config.get("run", {}).get("motion_file", ())) or UNSAID
        return [f"Trained on motions whose origin it does not say: {files}."]
    said = "Trained, its teachers included, on these motions; config.yaml has their whole SHA-256."
    if len(saved.motions) > LISTED:
        count = Counter[tuple[str, str]]()
        for one in saved.motions:
            count[one["source"] or UNSAID, one["licence"] or UNSAID] += clip_count(one)
        head = "| source | licence | motions |"
        rows = [(*origin, str(number)) for origin, number in count.most_common(LISTED)]
        left = count.total() - sum(number for _, number in count.most_common(LISTED))
        rows += [("others", "see config.yaml", str(left))] if left else []
    else:
        head = "| motion | source | licence | sha256 |"
        rows = [
            (one["name"], one["source"] or UNSAID, one["licence"] or UNSAID, one["sha256"][:16])
            for one in saved.motions
        ]
    rule = "| " + " | ".join(["---"] * head.count(" | ")) + " | --- |"
    return [said, "", head, rule, *(f"| {' | '.join(_cell(x) for x in row)} |" for row in rows)]


def _cell(text: str) -> str:
    """A text within a cell of a table, on one line."""
    return " ".join(text.split()).replace("|", "\\|")


HEADER = ("name", "kind", "weights", "measured in", "task: success, mean error, m or m/s")


def listing(entries: Sequence[Entry]) -> list[str]:
    """Entries as a table of text: a row for each simulator that one was measured in. No entries, no rows."""
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
    """By simulator, what was measured there: `path 100.0 %, 0.017  goal 99.6 %, 0.021`."""
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
    """A row for each simulator and task."""
    rows = []
    for name in dict.fromkeys(key.rpartition("/")[0] for key in metrics):
        simulator, _, task = name.partition("/")
        cells = [simulator, task, f"{metrics.get(f'{name}/episodes', 0):.0f}"]
        cells.append(_with_interval(metrics, f"{name}/success", 100.0, ".1f", " %"))
        rows.append(" | ".join([*cells, _with_interval(metrics, f"{name}/error", 1.0, ".3f", "")]))
    return rows


def _with_interval(metrics: Mapping[str, float], name: str, scale: float, form: str, unit: str) -> str:
    """`99.7 % [99.1, 99.9]`; without the brackets where no interval is known."""
    value, low, high = (metrics.get(f"{name}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return ""
    interval = "" if low is None or high is None else f" [{scale * low:{form}}, {scale * high:{form}}]"
    return f"{scale * value:{form}}{unit}{interval}"
