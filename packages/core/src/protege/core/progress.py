"""A line on stderr now and then, of work that takes longer than it takes to wonder."""

import time
from typing import Self

import click

from .launcher import launch

FIRST_LINE, NEXT_LINE = 3.0, 5.0
"""s before the first line, and from one line to the next."""


class Progress:
    """Says how many of a number of things are done: nothing of quick work, and of several ranks only the first one's.

    Args:
        what: is counted, in the plural.
        total: how many there are.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what, self.total = what, total
        self.begun = time.monotonic()
        self.due = self.begun + FIRST_LINE

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self.due > self.begun + FIRST_LINE:  # who began to count finishes
            self._say(self.total)

    def at(self, done: int) -> None:
        """So many are done by now."""
        if time.monotonic() >= self.due:
            self._say(done)

    def _say(self, done: int) -> None:
        now = time.monotonic()
        self.due = now + NEXT_LINE
        if launch().rank == 0:
            click.echo(f"{self.what}: {done} of {self.total}, {now - self.begun:.0f} s", err=True)
