"""Terminal output of commands: any text in any encoding, and tables without truncated cells. Rich is imported at first use."""

import sys
from io import TextIOWrapper
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_anything() -> None:
    """Make stdout and stderr print a question mark for characters outside their encoding, such as é in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def console(**options: Any) -> "Console":
    """A rich console without markup: brackets and colons in names are printed literally."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, **options)


def compact_table(title: str) -> "Table":
    """An empty table with one rule below its header and one space between its columns."""
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def print_table(table: "Table", console: "Console") -> None:
    """Print a table. If the terminal is too narrow, print each row as a block of lines `column: cell`."""
    from rich.measure import Measurement

    unlimited = console.options.update(max_width=10_000)
    if Measurement.get(console, unlimited, table).maximum <= console.width:
        console.print(table)
        return
    console.print(table.title or "")
    headers = [str(column.header) for column in table.columns]
    for cells in zip_longest(*(column.cells for column in table.columns), fillvalue=""):
        console.print()
        for header, cell in zip(headers, map(str, cells), strict=True):
            if cell.strip():
                console.print(f"{header}: {' '.join(cell.split())}")
