"""The one exception that reaches a user: a line with the problem and the remedy, exit code 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class DeployError(click.ClickException):
    """An error that the user can fix; the counterpart of `protege.core.errors.UserError`, since the runtime imports no core.

    Args:
        problem: what is wrong, with the file or the field.
        remedy: how to fix it.
    """

    exit_code = 2

    def __init__(self, problem: str, remedy: str = "") -> None:
        # Messages of other packages, such as MuJoCo's, may have several lines.
        super().__init__(" ".join(f"{problem.strip().rstrip('.')}. {remedy}".split()))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"error: {self.message}", file=file, err=file is None)


@contextmanager
def needs(extras: str) -> Iterator[None]:
    """Wraps imports of packages that an extra installs: a missing package becomes one line that says what to install.

    Args:
        extras: of protege-deploy, in pip's notation: `export,cpu`.

    Raises:
        DeployError: a package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise DeployError(f"{error.name} is not installed", f'pip install "protege-deploy[{extras}]"') from error
