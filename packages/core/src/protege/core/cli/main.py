"""`protege-core`: train and evaluate the tracker and MaskedMimic."""

import json
from pathlib import Path
from typing import Any

import click

from ..files import writable_folder, write_atomically
from .evaluate import chosen_simulator, evaluation_options
from .train import training_group

main = training_group(
    "protege-core",
    "Steps 1 and 2: the full-body tracker and MaskedMimic.",
    "protege.core.runs.experiments:EXPERIMENTS",
)


@main.command()
@evaluation_options
@click.option("--task", type=click.Choice(["track", "masked_mimic"]), help="by default what it was trained for")
def evaluate(
    checkpoint: str, task: str | None, output: str | None, num_episodes: int, simulator: str | None, **options: Any
) -> None:
    """Play a tracker or MaskedMimic for whole episodes; protege-distill evaluates every task and draws a page."""
    from ..runs.evaluation import evaluate_task
    from ..runs.load_policy import load_policy

    loaded = load_policy(checkpoint)
    if output:
        writable_folder(Path(output))
    options["simulator"], lines = chosen_simulator(loaded, simulator, options["device"])
    chosen = task or ("masked_mimic" if loaded.kind == "masked_mimic" else "track")
    summary, _ = evaluate_task(
        loaded, chosen, "cartesian_err/mean", num_episodes, begun=lambda: _tell(lines), **options
    )
    low, high = summary.success_ci
    click.echo(
        f"{chosen}: {summary.episodes} episodes, failed where the mean body distance exceeds 0.5 m or physics does"
    )
    click.echo(f"success {summary.success:.1%} [{low:.1%}, {high:.1%}]  cartesian_err {summary.error:.4f} m")
    if output:
        data = {"checkpoint": checkpoint, "task": chosen, **options, **summary.to_dict()}
        write_atomically(Path(output) / "evaluation.json", lambda file: file.write(json.dumps(data, indent=2).encode()))


def _tell(lines: list[str]) -> None:
    for line in lines:
        click.echo(line, err=True)
