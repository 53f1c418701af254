"""Tables in the terminal of which nothing is ever cut."""

from itertools import zip_longest

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table


def compact_table(title: str) -> Table:
    """An empty table with one rule below its header and one space between its columns."""
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))


def print_table(table: Table, console: Console) -> None:
    """Print a table; where the terminal is narrower than it, each row as a block of lines `column: cell`."""
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
