"""`protege pipeline`: commands in order, from clips to a running student, resumable."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import yaml
from rich.console import Console
from rich.table import Table

from .errors import UserError

PREFIX = "pipeline/"


@dataclass(frozen=True)
class Learned:
    """What a training step has to show for itself.

    Attributes:
        metric: of metrics.jsonl in `run`; its first value and the mean of its last tenth are compared.
        direction: `up` or `down`.
        factor: how many times it is meant to change; 1 for any change in the right direction.
    """

    run: str
    metric: str
    direction: str = "up"
    factor: float = 1.0


@dataclass(frozen=True)
class Step:
    """One command of the umbrella `protege`; `{root}` in its words stands for the pipeline's folder."""

    name: str
    command: list[str]
    learned: list[Learned] = field(default_factory=list)


def load_steps(preset: str, root: Path) -> list[Step]:
    """The steps of a preset `pipeline/<preset>`."""
    from .config import find_preset

    data = yaml.safe_load(find_preset(PREFIX + preset).read_text())
    steps = []
    for item in data["steps"]:
        words = [str(word).format(root=root) for word in item["command"]]
        learned = [Learned(**{**entry, "run": entry["run"].format(root=root)}) for entry in item.get("learned", [])]
        steps.append(Step(item["name"], words, learned))
    return steps


@click.command()
@click.option("--preset", default="laptop", show_default=True, help="which steps, and how long each")
@click.option("--results-dir", default="results", show_default=True)
@click.option(
    "--experiment-name", default=None, help="folder of the pipeline in the results; the preset's name by default"
)
@click.option("--from", "first", default=None, metavar="STEP", help="do this step and the later ones again")
@click.option("--list", "show", is_flag=True, help="print the commands and stop")
def pipeline(preset: str, results_dir: str, experiment_name: str | None, first: str | None, show: bool) -> None:
    """Run the four steps, evaluation, export and a closed loop. Started again, it goes on where it stopped."""
    root = Path(results_dir) / (experiment_name or preset)
    steps = load_steps(preset, root)
    names = [step.name for step in steps]
    if first is not None and first not in names:
        raise UserError(f"the pipeline has no step {first!r}", f"Its steps: {', '.join(names)}")
    if show:
        for step in steps:
            click.echo(f"protege {' '.join(step.command)}")
        return
    done = _done(root)
    if first is not None:
        done = {name: entry for name, entry in done.items() if name in names[: names.index(first)]}
    for number, step in enumerate(steps, start=1):
        if done.get(step.name, {}).get("command") == step.command:
            click.echo(f"[{number}/{len(steps)}] {step.name}: done before")
            continue
        # What follows a step that is done anew is done anew as well.
        done = {name: entry for name, entry in done.items() if name in names[: number - 1]}
        click.echo(f"[{number}/{len(steps)}] {step.name}: protege {' '.join(step.command)}")
        start = time.monotonic()
        _run(step)
        done[step.name] = {"command": step.command, "seconds": round(time.monotonic() - start, 1)}
        _save(root, done)
    rows = [row for step in steps for row in map(measured, step.learned)]
    _save(root, done, rows)
    _print_summary(done, rows)


def _run(step: Step) -> None:
    """One step in a process of its own: its memory is given back, Ctrl-C reaches it and it saves."""
    process = subprocess.Popen([sys.executable, "-m", "protege.core.umbrella", *step.command])
    while True:
        try:
            code = process.wait()
            break
        except KeyboardInterrupt:
            continue
    if code == 130:
        click.echo("stopped; the same command goes on", err=True)
    if code:
        raise SystemExit(code)


def _done(root: Path) -> dict[str, Any]:
    path = root / "pipeline.json"
    try:
        return json.loads(path.read_text())["steps"] if path.is_file() else {}
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged", "Delete it: runs that are finished end at once") from error


def _save(root: Path, done: dict[str, Any], rows: list[dict[str, Any]] | None = None) -> None:
    from .checkpoint import write_atomically

    text = json.dumps({"steps": done, "learned": rows or []}, indent=2)
    write_atomically(root / "pipeline.json", lambda file: file.write(text.encode()))


def measured(learned: Learned) -> dict[str, Any]:
    """A metric at the start and the end of a run: its first value, and the mean of the last tenth of its values, at least one.

    Returns:
        `first`, `last`, `factor`: how many times it rose, or fell where `down` is wanted; and whether that was `wanted`.

    Raises:
        UserError: the run never logged it.
    """
    path = Path(learned.run) / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    values = [row[learned.metric] for row in map(json.loads, lines) if learned.metric in row]
    if not values:
        raise UserError(f"{path} has no {learned.metric}", "Run the step again with --from")
    tenth = max(1, len(values) // 10)
    first, last = values[0], sum(values[-tenth:]) / tenth
    above, below = (last, first) if learned.direction == "up" else (first, last)
    factor = above / below if below else float("inf") if above > 0.0 else 1.0
    return {
        "run": Path(learned.run).name,
        "metric": learned.metric,
        "first": first,
        "last": last,
        "factor": factor,
        "wanted": learned.factor,
        "met": above > below if learned.factor == 1.0 else factor >= learned.factor,
    }


def _print_summary(done: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    console = Console()
    table = Table("run", "metric", "first", "last", "times", "wanted", title="What each step learned")
    for row in rows:
        wanted = f"{row['wanted']:g}" if row["wanted"] != 1.0 else "better"
        cells = (
            f"{row['first']:.4g}",
            f"{row['last']:.4g}",
            f"{row['factor']:.2f}",
            f"{wanted} {'✓' if row['met'] else '✗'}",
        )
        table.add_row(row["run"], row["metric"], *cells)
    console.print(table)
    seconds = sum(entry["seconds"] for entry in done.values())
    console.print("  ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in done.items()))
    console.print(f"all steps: {seconds / 60.0:.1f} minutes")
