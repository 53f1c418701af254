"""`protege-core`: train the tracker and MaskedMimic."""

import click

from ..errors import UserError
from .train import training_group

main = training_group(
    "protege-core",
    "Steps 1 and 2: the full-body tracker and MaskedMimic.",
    "protege.core.runs.experiments:EXPERIMENTS",
)


@main.command(hidden=True, add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def evaluate(words: tuple[str, ...]) -> None:
    """Name the command that replaced this one, whatever the options."""
    raise UserError("`protege core evaluate` is gone", "Use `protege evaluate` (package protege-distill)")
