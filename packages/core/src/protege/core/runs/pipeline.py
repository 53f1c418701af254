"""`protege pipeline`: runs commands in order, from clips to a deployed student; can be resumed."""

import json
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..errors import UserError
from ..files import write_atomically
from ..names import checked_name
from ..terminal import compact_table, console, print_table
from .child import run_child, run_children
from .lock import locked
from .mps import shared_gpu
from .run_folder import read_metrics, remove_temporaries
from .steps import LearningCheck, Step, deterministic, launches, load_steps, on_gpus, read_preset, stages

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
@click.option(
    "--gpus",
    default=1,
    type=click.IntRange(1),
    help="GPUs: tracker and student train on all, the other policies on one each",
)
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
    place = {step.name: f"[{number}/{len(steps)}] {step.name}" for number, step in enumerate(steps, start=1)}
    for stage in launches(steps):
        waiting = [step for step in stage if step.name not in done]
        started = [_started(step, restarts) for step in waiting]
        shown = {step.name: step.shown for step in started}
        for step in stage:
            click.echo(f"{place[step.name]}: {shown.get(step.name, 'done before')}")
        if not started:
            continue
        start = time.monotonic()
        codes, stopped = _run(started)
        seconds = round(time.monotonic() - start, 1)
        for step, code in zip(waiting, codes, strict=True):
            if code == 0:
                done[step.name] = {"command": step.command, "seconds": seconds}
                restarts.pop(step.name, None)
        _save(root, done, restarts)
        if stopped or STOPPED_EXIT_CODE in codes:
            click.echo("stopped; the same command goes on", err=True)
        failed = [code for code in codes if code not in (0, STOPPED_EXIT_CODE)]
        if failed or stopped or STOPPED_EXIT_CODE in codes:
            raise SystemExit(failed[0] if failed else STOPPED_EXIT_CODE)
    rows = [row for step in steps for row in map(measured, step.learned)]
    _save(root, done, restarts, rows)
    _print_summary([(stage, max(done[step.name]["seconds"] for step in stage)) for stage in launches(steps)], rows)


def _started(step: Step, restarts: dict[str, str]) -> Step:
    """The step, with `--no-resume` if it must restart.

    If the checkpoint is no longer the one to restart from, the step was already restarted and then stopped, so it resumes.
    """
    if step.trains and restarts.get(step.name) == step.digest():
        return replace(step, command=[*step.command, "--no-resume"])
    return step


def _plan(
    steps: list[Step], done: dict[str, Any], restarts: dict[str, str], first: str | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Steps that stay done, and steps to restart with the digest of the checkpoint that they must not resume from.

    Restarted are `first`, a step whose command has changed, and all steps of later stages than one of these or than a step that is
    not done although a later one is. Any other step resumes from its checkpoint.
    """
    stage = {step.name: number for number, steps in enumerate(stages(steps)) for step in steps}
    same = {step.name: done.get(step.name, {}).get("command") == step.command for step in steps}
    incomplete = min((stage[name] for name in stage if not same[name]), default=len(steps))
    changed = {name for name in stage if name in done and not same[name]}
    outdated = changed or any(name in done for name in stage if stage[name] > incomplete)
    begin = len(steps) if first is None else stage[first]
    restarted = {name for name in stage if name == first or name in changed or stage[name] > begin}
    if outdated:
        restarted |= {name for name in stage if stage[name] > incomplete}
    kept = {name: done[name] for name in stage if same[name] and stage[name] <= incomplete and name not in restarted}
    return kept, restarts | {step.name: step.digest() for step in steps if step.name in restarted}


def _run(steps: list[Step]) -> tuple[list[int], bool]:
    """Run steps at the same time, each in a child process, so that its memory is released.

    Returns:
        their exit codes, and whether the pipeline received a stop signal.
    """
    if len(steps) == 1:
        code, stopped = run_child(_words(steps[0]), steps[0].environment)
        return [code], stopped
    one_gpu = all(step.gpu is None and step.gpus == 1 for step in steps)
    followers = [] if all(step.early for step in steps) else [step.name for step in steps if step.early]
    with shared_gpu() if one_gpu else nullcontext({}) as shared:
        commands = {step.name: _words(step) for step in steps}
        codes, stopped = run_children(commands, {step.name: shared | step.environment for step in steps}, followers)
    ended = list(zip((step.name for step in steps), codes, strict=True))
    failed = [code for name, code in ended if code and name not in followers]
    codes = [failed[0] if failed and name in followers else code for name, code in ended]
    return codes, stopped


def _words(step: Step) -> list[str]:
    """The command line that runs a step with this Python."""
    ranks = ["torch.distributed.run", *step.torchrun, "-m"] if step.torchrun else []
    return [sys.executable, "-m", *ranks, "protege.core.cli.umbrella", *step.command]


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


def _print_summary(stages: list[tuple[list[Step], float]], rows: list[dict[str, Any]]) -> None:
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
    terminal.print("  ".join(f"{' + '.join(step.name for step in stage)} {seconds:.0f} s" for stage, seconds in stages))
    terminal.print(f"all steps: {sum(seconds for _, seconds in stages) / 60.0:.1f} minutes")
