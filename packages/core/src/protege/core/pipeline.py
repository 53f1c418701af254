"""`protege pipeline`: commands in order, from clips to a running student, resumable."""

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
        factor: how many times it is meant to change; 1 for any change in the right direction. Another factor is for
            metrics that are never negative.
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

    @property
    def trains(self) -> bool:
        """Whether it is a `train` command, which goes on from a checkpoint unless it is told `--no-resume`."""
        return self.command[1:2] == ["train"]

    def digest(self) -> str:
        """SHA-256 of the `last.ckpt` that a training would go on from; empty where there is none."""
        options = dict(pairwise(self.command))
        folder = Path(options.get("--results-dir", "results")) / options.get("--experiment-name", "")
        path = folder / "last.ckpt"
        if not (self.trains and path.is_file()):
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read_preset(name: str) -> dict[str, Any]:
    """A preset `pipeline/<name>`: its `steps`, and `from_scratch`, the preset that also trains what it takes from the zoo."""
    from .config import find_preset

    return yaml.safe_load(find_preset(PREFIX + name).read_text())


def load_steps(preset: str, root: Path) -> list[Step]:
    """The steps of a preset `pipeline/<preset>`; `{root}` in them is the folder, `{NAME}` what the preset's `words` say."""
    data = read_preset(preset)
    steps = []
    for item in data["steps"]:
        words = [str(word).format(root=root, **data.get("words", {})) for word in item["command"]]
        learned = [Learned(**{**entry, "run": entry["run"].format(root=root)}) for entry in item.get("learned", [])]
        steps.append(Step(item["name"], words, learned))
    return steps


@click.command()
@click.option("--preset", default="laptop", show_default=True, help="which steps, and how long each")
@click.option("--results-dir", default="results", show_default=True)
@click.option(
    "--experiment-name", default=None, help="folder of the pipeline in the results; the preset's name by default"
)
@click.option("--from-scratch", is_flag=True, help="train also what the preset takes from the shipped zoo")
@click.option("--from", "first", default=None, metavar="STEP", help="do this step and the later ones again")
@click.option("--list", "show", is_flag=True, help="print the commands and stop")
def pipeline(
    preset: str, results_dir: str, experiment_name: str | None, from_scratch: bool, first: str | None, show: bool
) -> None:
    """Run the four steps, evaluation, export and a closed loop. Started again, it goes on where it stopped."""
    if from_scratch:
        preset = read_preset(preset).get("from_scratch", preset)
    root = Path(results_dir) / (experiment_name or preset)
    steps = load_steps(preset, root)
    names = [step.name for step in steps]
    if first is not None and first not in names:
        raise UserError(f"the pipeline has no step {first!r}", f"Its steps: {', '.join(names)}")
    if show:
        for step in steps:
            click.echo(f"protege {' '.join(step.command)}")
        return
    done, anew = _plan(steps, *_load(root), first)
    _save(root, done, anew)
    for number, step in enumerate(steps, start=1):
        if step.name in done:
            click.echo(f"[{number}/{len(steps)}] {step.name}: done before")
            continue
        # Once the checkpoint is another one, the step has begun anew, was stopped, and goes on.
        fresh = step.trains and anew.get(step.name) == step.digest()
        started = replace(step, command=[*step.command, "--no-resume"]) if fresh else step
        click.echo(f"[{number}/{len(steps)}] {step.name}: protege {' '.join(started.command)}")
        start = time.monotonic()
        _run(started)
        done[step.name] = {"command": step.command, "seconds": round(time.monotonic() - start, 1)}
        anew.pop(step.name, None)
        _save(root, done, anew)
    rows = [row for step in steps for row in map(measured, step.learned)]
    _save(root, done, anew, rows)
    _print_summary(done, rows)


def _plan(
    steps: list[Step], done: dict[str, Any], anew: dict[str, str], first: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """What stays done, and what is begun anew with the digest of the checkpoint that it must not go on from.

    Begun anew are `first`, a step with another command than when it was done, and all that follow one of these or follow a
    step that is not done although a later one is. Any other step goes on from its checkpoint.
    """
    names = [step.name for step in steps]
    same = [done.get(step.name, {}).get("command") == step.command for step in steps]
    kept = [*same, False].index(False)
    again = len(steps) if first is None else names.index(first)
    if done.keys() & names[kept:]:
        again = min(again, kept if names[kept] in done else kept + 1)
    done = {name: done[name] for name in names[: min(kept, again)]}
    return done, anew | {step.name: step.digest() for step in steps[again:]}


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


def _load(root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The steps that are done and those to begin anew, of `pipeline.json`.

    Raises:
        UserError: it is damaged.
    """
    path = root / "pipeline.json"
    try:
        data = json.loads(path.read_bytes()) if path.is_file() else {"steps": {}}
    except (ValueError, RecursionError):
        data = None
    match data:
        case {"steps": dict(done)} if all(map(_is_entry, done.values())) and isinstance(data.get("anew", {}), dict):
            return done, data.get("anew", {})
    raise UserError(f"{path} is damaged", "Delete it: runs that are finished end at once")


def _is_entry(entry: object) -> bool:
    match entry:
        case {"command": list(), "seconds": int() | float()}:
            return True
    return False


def _save(root: Path, done: dict[str, Any], anew: dict[str, str], rows: list[dict[str, Any]] | None = None) -> None:
    from .checkpoint import write_atomically

    text = json.dumps({"steps": done, "anew": anew, "learned": rows or []}, indent=2)
    write_atomically(root / "pipeline.json", lambda file: file.write(text.encode()))


def measured(learned: Learned) -> dict[str, Any]:
    """A metric at the start and the end of a run: its first value, and the mean of the last tenth of its values, at least one.

    Returns:
        `first`, `last`; `factor`: how many times it rose, or fell where `down` is wanted, None if a value is negative or NaN, as
        their quotient says nothing; and whether that `met` what was `wanted`: with 1 the values are compared, whatever their
        sign; otherwise there must be a factor, and it must be large enough. From 0 up, or down to 0, it is infinite.

    Raises:
        UserError: the run never logged it, or its log is damaged.
    """
    path = Path(learned.run) / "metrics.jsonl"
    values = _logged(path, learned.metric)
    if not values:
        raise UserError(f"{path} has no {learned.metric}", "Run the step again with --from")
    tenth = max(1, len(values) // 10)
    first, last = values[0], sum(values[-tenth:]) / tenth
    above, below = (last, first) if learned.direction == "up" else (first, last)
    factor = None
    if above >= 0.0 and below >= 0.0:
        factor = above / below if below else float("inf") if above else 1.0
    return {
        "run": Path(learned.run).name,
        "metric": learned.metric,
        "first": first,
        "last": last,
        "factor": factor,
        "wanted": learned.factor,
        "met": above > below if learned.factor == 1.0 else factor is not None and factor >= learned.factor,
    }


def _logged(path: Path, metric: str) -> list[float]:
    """A metric's values in `metrics.jsonl`. A last line without its end is ignored: the process that wrote it was killed."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    values = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or not isinstance(row.get(metric, 0.0), int | float):
            raise UserError(f"{path} is damaged in line {number}", "Delete it, and run the step again with --from")
        if metric in row:
            values.append(row[metric])
    return values


def _print_summary(done: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    console = Console()
    table = Table("run", "metric", "first", "last", "times", "wanted", title="What each step learned")
    for row in rows:
        wanted = f"{row['wanted']:g}" if row["wanted"] != 1.0 else "better"
        cells = (
            f"{row['first']:.4g}",
            f"{row['last']:.4g}",
            "-" if row["factor"] is None else f"{row['factor']:.2f}",
            f"{wanted} {'✓' if row['met'] else '✗'}",
        )
        table.add_row(row["run"], row["metric"], *cells)
    console.print(table)
    seconds = sum(entry["seconds"] for entry in done.values())
    console.print("  ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in done.items()))
    console.print(f"all steps: {seconds / 60.0:.1f} minutes")
