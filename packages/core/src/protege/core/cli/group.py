"""Command groups that report errors as one line on stderr and exit with code 2."""

import time
from importlib.metadata import version
from typing import Any

import click

from ..errors import UserError
from ..launcher import launch
from ..notices import notices
from ..terminal import print_anything

FIRST_RANK_HEAD_START = 2.0
"""s by which other ranks delay their error. Usually the first rank prints the same one, and the launcher then stops the others."""


class OneLineError(click.ClickException):
    """A UserError on the command line: one line for it and for each error in `also`, exit code 2."""

    exit_code = 2

    def __init__(self, error: UserError) -> None:
        super().__init__(str(error))
        self.lines = [str(x) for x in (error, *error.also)]

    def show(self, file: Any = None) -> None:
        """Print it to stderr."""
        rank = launch().rank
        if rank:
            time.sleep(FIRST_RANK_HEAD_START)
        for line in self.lines:
            click.echo(f"error: {line}" if not rank else f"error of rank {rank}: {line}", err=True)


class Group(click.Group):
    """A group whose commands may raise UserError and can print any text in any terminal."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        print_anything()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with notices():
                return super().invoke(ctx)
        except UserError as error:
            raise OneLineError(error) from error


def main_group(package: str, help: str, cls: type[Group] = Group) -> Group:
    """The root command of a package, with --help and --version."""
    group = cls(
        name=package.removeprefix("protege-"), help=help, context_settings={"help_option_names": ["-h", "--help"]}
    )
    return click.version_option(version(package), prog_name=package)(group)
