"""Shows the packages' log messages in commands: on stderr, each line once, from the first rank only."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .launcher import launch

PACKAGES = ("core", "sim", "teachers", "distill")


class Notices(logging.Handler):
    """Prints log messages to stderr, each line once per command. Warnings begin with `warning: `."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._printed: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record on the first rank, unless it was printed before."""
        line = ("warning: " if record.levelno >= logging.WARNING else "") + record.getMessage()
        if line not in self._printed and not launch().rank:
            click.echo(line, err=True)
        self._printed.add(line)


@contextmanager
def notices() -> Iterator[None]:
    """Show the packages' log messages in this context; nesting has no effect. `protege.deploy` shows its own log."""
    loggers, handler = [logging.getLogger(f"protege.{name}") for name in PACKAGES], Notices()
    if any(isinstance(other, Notices) for other in loggers[0].handlers):
        yield
        return
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
