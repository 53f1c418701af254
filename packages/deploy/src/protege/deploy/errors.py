"""The one exception that reaches a user: a line that names the culprit and the remedy, exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class DeployError(click.ClickException):
    """Something the user can mend. The robot's side imports no core: this is its `protege.core.errors.UserError`.

    Args:
        problem: what is wrong, naming the file or the field.
        remedy: what to do about it.
    """

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        # Others' messages, MuJoCo's for instance, may have several lines.
        super().__init__(" ".join(f"{problem.strip().rstrip('.')}. {remedy}".split()))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.message}", file=file, err=file is None)


@contextmanager
def needs(extras: str) -> Iterator[None]:
    """Around imports of what only an extra installs: a missing package becomes one line that says what to install.

    Args:
        extras: of protege-deploy, as pip takes them: `export,cpu`.

    Raises:
        DeployError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise DeployError(f"{error.name} is not installed", f'pip install "protege-deploy[{extras}]"') from error
