"""A choice on the command line whose names are imported only when needed, so that `--help` is fast."""

from importlib import import_module

import click


class LazyChoice(click.ParamType):
    """A name in a table of a module of `protege.distill`.

    Args:
        table: the variable that holds the names.
        module: the module's name below `protege.distill`.
    """

    def __init__(self, table: str, module: str) -> None:
        self.name = self.table = table
        self.module = module

    def names(self) -> list[str]:
        """All names in the table."""
        return list(getattr(import_module(f"protege.distill.{self.module}"), self.table))

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{'|'.join(self.names())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in self.names():
            self.fail(f"{value!r} is not one of {', '.join(self.names())}", param, ctx)
        return value
