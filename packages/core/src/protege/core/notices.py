"""How commands show what the packages log: on stderr, each line once, from the first rank."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from .launcher import launch

PACKAGES = ("core", "sim", "teachers", "distill")


class Notices(logging.Handler):
    """Prints what the packages log to stderr, each line once a command: `warning: ...`, and what is no warning as it is."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, if this is the first rank and it was not printed before."""
        line = ("warning: " if record.levelno >= logging.WARNING else "") + record.getMessage()
        if line not in self._said and not launch().rank:
            click.echo(line, err=True)
        self._said.add(line)


@contextmanager
def notices() -> Iterator[None]:
    """While it lasts, what the packages log is shown; one within another adds nothing. Deploy shows its log by itself."""
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
