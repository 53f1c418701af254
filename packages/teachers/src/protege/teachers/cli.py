"""`protege-teachers`: trains the specialised teachers and manages the zoo."""

from pathlib import Path

import click

from protege.core.cli.group import Group
from protege.core.cli.train import training_group
from protege.core.errors import UserError

main = training_group(
    "protege-teachers",
    "Step 3: teachers of single tasks; the zoo of trained policies.",
    "protege.teachers.experiments:EXPERIMENTS",
)


@main.group(cls=Group)
def zoo() -> None:
    """Trained policies with their checksums, recipes and results."""


_zoo_option = click.option("--zoo", "where", help="folder or URL of a zoo; by default the shipped one")

_evaluations = click.option(
    "--evaluation",
    "evaluations",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="evaluation.json of protege evaluate, one per simulator",
)


def _zoo(where: str | None) -> str | Path:
    from .zoo import shipped

    return where or shipped()


def _print_empty(zoo: str | Path) -> None:
    click.echo(f"{zoo} is empty; protege-teachers zoo add fills one, --zoo names another")


@zoo.command("list")
@_zoo_option
def list_entries(where: str | None) -> None:
    """List entries: kind, weights included or not, results."""
    from .cards import listing
    from .zoo import read_index

    entries = read_index(_zoo(where))
    if not entries:
        _print_empty(_zoo(where))
    for line in listing(list(entries.values())):
        click.echo(line)


@zoo.command()
@_zoo_option
@click.argument("names", nargs=-1)
def verify(where: str | None, names: tuple[str, ...]) -> None:
    """Compare files with their checksums; exit code 1 if one differs."""
    from . import zoo as z

    if "://" in str(where):
        raise UserError(f"{where} is not a folder", "Pull its entries, which compares checksums too")
    folder = Path(_zoo(where))
    wrong, known = 0, z.read_index(folder)
    if not known and not names:
        _print_empty(folder)
    for name in names or known:
        problems = z.verify(folder, name)
        wrong += len(problems)
        click.echo(f"{name}: {'; '.join(problems) or 'whole'}")
    raise SystemExit(1 if wrong else 0)


@zoo.command()
@_zoo_option
@click.argument("name")
@click.option("--output", default="results/zoo", show_default=True, help="zoo to copy the entry into")
def pull(where: str | None, name: str, output: str) -> None:
    """Copy NAME from a folder or URL and compare its checksums."""
    from .zoo import pull as copy

    click.echo(str(copy(_zoo(where), name, Path(output))))


@zoo.command()
@click.argument("name")
@click.option("--checkpoint", required=True, help="run folder or checkpoint")
@click.option("--zoo", "where", default="results/zoo", show_default=True, help="folder of the zoo")
@click.option("--recipe", default="", help="the command that trained it")
@_evaluations
@click.option("--notes", default="", help="text for its card, such as machine and known failures")
@click.option("--full-precision", is_flag=True, help="weights in float32 instead of float16")
@click.option("--no-critic", is_flag=True, help="leave out the critic: a third smaller, but its values cannot teach")
@click.option("--no-weights", is_flag=True, help="store only the checksum of the weights, if they are too large")
def add(
    name: str,
    checkpoint: str,
    where: str,
    recipe: str,
    evaluations: tuple[Path, ...],
    notes: str,
    full_precision: bool,
    no_critic: bool,
    no_weights: bool,
) -> None:
    """Add a trained policy to a zoo under NAME."""
    from .zoo import add as add_entry

    options = {"half": not full_precision, "critic": not no_critic, "notes": notes, "weights": not no_weights}
    entry = add_entry(Path(where), name, checkpoint, recipe, _metrics(evaluations), **options)
    click.echo(f"{where}/{entry.name}")


@zoo.command()
@click.argument("name")
@click.option("--zoo", "where", default="results/zoo", show_default=True, help="folder of the zoo")
@_evaluations
@click.option("--notes", help="replaces its current notes")
def card(name: str, where: str, evaluations: tuple[Path, ...], notes: str | None) -> None:
    """Rewrite the card of NAME with the results of these evaluations."""
    from .entry import CARD
    from .zoo import describe

    describe(Path(where), name, _metrics(evaluations), notes)
    click.echo(f"{where}/{name}/{CARD}")


def _metrics(evaluations: tuple[Path, ...]) -> dict[str, float]:
    """Metrics of all evaluations; later ones override earlier ones."""
    from .cards import read_metrics

    return {key: x for evaluation in evaluations for key, x in read_metrics(evaluation).items()}
