"""Progress of long computations: a line on stderr every few seconds."""

import time
from typing import Self

import click

from .launcher import launch

FIRST_LINE, NEXT_LINE = 3.0, 5.0
"""s before the first line, and from one line to the next."""


class Progress:
    """Prints how many of `total` items are done. Short work prints nothing, and only the first rank prints.

    Args:
        what: name of the items, in the plural.
        total: number of items.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.begun = time.monotonic()
        self.due = self.begun + FIRST_LINE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.due > self.begun + FIRST_LINE:  # at least one line was printed: print the last one too
            self._print(self.total)

    def at(self, done: int) -> None:
        """Report the number of items that are done."""
        if time.monotonic() >= self.due:
            self._print(done)

    def _print(self, done: int) -> None:
        now = time.monotonic()
        self.due = now + NEXT_LINE
        if launch().rank == 0:
            click.echo(f"{self.what}: {done} of {self.total}, {now - self.begun:.0f} s", err=True)
