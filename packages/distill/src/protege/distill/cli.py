"""`protege-distill`: train the student, evaluate any policy, draw the report."""

from pathlib import Path
from typing import Any

import click

from protege.core.commands import evaluation_options, training_group

from .tasks import OPTIONS, TASK_FACTS

main = training_group(
    "protege-distill",
    "Step 4: one light student from many teachers, and the evaluation of every policy.",
    ("distillation",),
    "protege.distill.experiment:EXPERIMENTS",
)


@main.command()
@evaluation_options
@click.option("--opt", "groups", multiple=True, type=click.Choice(list(OPTIONS)), help="a group of tasks")
@click.option("--task", "tasks", multiple=True, type=click.Choice(list(TASK_FACTS)), help="one task; repeatable")
@click.option("--push", type=click.FloatRange(0), help="push the robots forward now and then for 0.2 s, N", default=0.0)
def evaluate(
    checkpoint: str,
    groups: tuple[str, ...],
    tasks: tuple[str, ...],
    output: str | None,
    num_episodes: int,
    **options: Any,
) -> None:
    """Play whole episodes of the tasks: a table, and evaluation.json and evaluation.html in the output folder.

    By default a student plays track, path, goal and steering, any other policy what it was trained for. The output folder is
    `evaluation` in the run's folder.
    """
    from protege.core.experiments import load_policy

    from .evaluate import default_output, default_tasks
    from .evaluate import evaluate as play
    from .report import write_report
    from .table import print_table

    loaded = load_policy(checkpoint)
    chosen = [*(task for group in groups for task in OPTIONS[group]), *tasks] or default_tasks(loaded.kind)
    folder = Path(output) if output else default_output(Path(checkpoint))

    def tell(task: str) -> None:
        click.echo(f"{TASK_FACTS[task].title} ...", err=True)

    evaluation = play(loaded, list(dict.fromkeys(chosen)), num_episodes, output=folder, tell=tell, **options)
    evaluation.save(folder)
    print_table(evaluation.data)
    click.echo(str(write_report(folder)))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Build FOLDER/evaluation.html again from the results in FOLDER."""
    from .report import write_report

    click.echo(str(write_report(folder)))
