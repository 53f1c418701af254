"""What several commands of `protege sim` share."""

from collections.abc import Sequence

import click

from .columns import columns

robot_option = click.option("--robot", help="a name or a robot.yaml; by default a clip's own, or the default robot")
json_option = click.option("--json", "as_json", is_flag=True, help="for programs")


def print_table(rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; see `columns`."""
    for line in columns(rows):
        click.echo(line)
