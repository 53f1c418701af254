"""`protege pipeline`: runs commands in order, from clips to a deployed student; can be resumed."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from ..files import write_atomically
from ..names import checked_name
from ..terminal import compact_table, console, print_table
from .child import run_child
from .lock import locked
from .run_folder import read_metrics, remove_temporaries
from .steps import LearningCheck, Step, deterministic, load_steps, on_gpus, read_preset

RECORD_FILE = "pipeline.json"
"""File in the pipeline's folder that records finished steps."""

STOPPED_EXIT_CODE = 130
"""Exit code of a command that saved and stopped after a signal."""


@click.command()
@click.option("--preset", default="laptop", show_default=True, help="steps and how long each takes")
@click.option("--results-dir", default="results", show_default=True, help="folder of all runs")
@click.option(
    "--experiment-name", default=None, help="folder of the pipeline in the results; the preset's name by default"
)
@click.option("--from-scratch", is_flag=True, help="also train the policies that the preset takes from the shipped zoo")
@click.option("--from", "first", default=None, metavar="STEP", help="run this step and the later ones again")
@click.option(
    "--deterministic", "repeatable", is_flag=True, help="budgets of samples and one thread, for reproducible weights"
)
@click.option("--gpus", default=1, type=click.IntRange(1), help="number of GPUs for training tracker and student")
@click.option("--robot", help="robot to train: a name or a robot.yaml; by default the presets' robot")
@click.option(
    "--motion-file",
    "clips",
    multiple=True,
    help="clip to train on, repeatable; by default the presets' clips of the robot",
)
@click.option("--list", "show", is_flag=True, help="print the commands and stop")
def pipeline(
    preset: str,
    results_dir: str,
    experiment_name: str | None,
    from_scratch: bool,
    first: str | None,
    repeatable: bool,
    gpus: int,
    robot: str | None,
    clips: tuple[str, ...],
    show: bool,
) -> None:
    """Run the four steps, evaluation, export and a closed loop. The same command resumes a stopped pipeline."""
    if from_scratch:
        preset = read_preset(preset).get("from_scratch", preset)
    root = Path(results_dir) / checked_name(experiment_name or preset, "--experiment-name")
    steps = load_steps(preset, root, robot, clips)
    if repeatable:
        steps = deterministic(preset, steps)
    if gpus > 1:
        steps = on_gpus(preset, steps, gpus)
    names = [step.name for step in steps]
    if first is not None and first not in names:
        raise UserError(f"the pipeline has no step {first!r}", f"Its steps: {', '.join(names)}")
    if show:
        for step in steps:
            click.echo(step.shown)
        return
    with locked(root):
        remove_temporaries(root, [RECORD_FILE])
        _carry_out(steps, root, first)


def _carry_out(steps: list[Step], root: Path, first: str | None) -> None:
    """Run the steps that are not done, record each in `pipeline.json`, and print what the steps learned."""
    done, restarts = _plan(steps, *_load(root), first)
    _save(root, done, restarts)
    for number, step in enumerate(steps, start=1):
        if step.name in done:
            click.echo(f"[{number}/{len(steps)}] {step.name}: done before")
            continue
        # If the checkpoint has changed, the step was already restarted and then stopped, so it resumes.
        fresh = step.trains and restarts.get(step.name) == step.digest()
        started = replace(step, command=[*step.command, "--no-resume"]) if fresh else step
        click.echo(f"[{number}/{len(steps)}] {step.name}: {started.shown}")
        start = time.monotonic()
        stopped = _run(started)
        done[step.name] = {"command": step.command, "seconds": round(time.monotonic() - start, 1)}
        restarts.pop(step.name, None)
        _save(root, done, restarts)
        if stopped:
            raise SystemExit(STOPPED_EXIT_CODE)
    rows = [row for step in steps for row in map(measured, step.learned)]
    _save(root, done, restarts, rows)
    _print_summary(done, rows)


def _plan(
    steps: list[Step], done: dict[str, Any], restarts: dict[str, str], first: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Steps that stay done, and steps to restart with the digest of the checkpoint that they must not resume from.

    Restarted are `first`, a step whose command has changed, and all steps after one of these or after a step that is not done
    although a later one is. Any other step resumes from its checkpoint.
    """
    names = [step.name for step in steps]
    same = [done.get(step.name, {}).get("command") == step.command for step in steps]
    unchanged = [*same, False].index(False)
    restart = len(steps) if first is None else names.index(first)
    if done.keys() & names[unchanged:]:
        restart = min(restart, unchanged if names[unchanged] in done else unchanged + 1)
    done = {name: done[name] for name in names[: min(unchanged, restart)]}
    return done, restarts | {step.name: step.digest() for step in steps[restart:]}


def _run(step: Step) -> bool:
    """Run one step in a child process, so that its memory is released.

    Returns:
        whether the pipeline received a stop signal although the step has finished.
    """
    ranks = ["torch.distributed.run", *step.torchrun, "-m"] if step.torchrun else []
    code, stopped = run_child([sys.executable, "-m", *ranks, "protege.core.cli.umbrella", *step.command])
    if stopped or code == STOPPED_EXIT_CODE:
        click.echo("stopped; the same command goes on", err=True)
    if code:
        raise SystemExit(code)
    return stopped


def _load(root: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The finished steps and those to restart, from `pipeline.json`.

    Raises:
        UserError: the file is damaged.
    """
    path = root / RECORD_FILE
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


def _save(root: Path, done: dict[str, Any], restarts: dict[str, str], rows: list[dict[str, Any]] | None = None) -> None:
    text = json.dumps({"steps": done, "anew": restarts, "learned": rows or []}, indent=2)
    write_atomically(root / RECORD_FILE, lambda file: file.write(text.encode()))


def measured(learned: LearningCheck) -> dict[str, Any]:
    """A metric at the start and the end of a run: its first value, and the mean of the last tenth of its values, at least one.

    Returns:
        `first` and `last`; `factor`, by which the metric rose, or fell if `down` is wanted; `wanted`; and `met`, whether the wanted
        factor was reached. The factor is None if a value is negative or NaN, and infinite from 0 up or down to 0. If 1 is wanted,
        the values are compared, whatever their sign.

    Raises:
        UserError: the run has not logged the metric, or its log is damaged.
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
    """The values of a metric in `metrics.jsonl`."""
    remedy = "Delete it, and run the step again with --from"
    rows = read_metrics(path, remedy)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get(metric, 0.0), int | float):
            raise UserError(f"{path} is damaged in line {number}", remedy)
    return [row[metric] for row in rows if metric in row]


def _print_summary(done: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    terminal = console()
    table = compact_table("What each step learned")
    for name in ("run", "metric", "first", "last", "times", "wanted"):
        table.add_column(name)
    for row in rows:
        wanted = f"{row['wanted']:g}" if row["wanted"] != 1.0 else "better"
        cells = (
            f"{row['first']:.4g}",
            f"{row['last']:.4g}",
            "-" if row["factor"] is None else f"{row['factor']:.2f}",
            f"{wanted} {'✓' if row['met'] else '✗'}",
        )
        table.add_row(row["run"], row["metric"], *cells)
    print_table(table, terminal)
    seconds = sum(entry["seconds"] for entry in done.values())
    terminal.print("  ".join(f"{name} {entry['seconds']:.0f} s" for name, entry in done.items()))
    terminal.print(f"all steps: {seconds / 60.0:.1f} minutes")
