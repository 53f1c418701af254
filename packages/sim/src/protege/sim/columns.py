"""Tables of plain text."""

from collections.abc import Iterator, Sequence


def columns(rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """The lines of a table whose first row names the columns. The first column is left-aligned, the others right-aligned."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    for row in text:
        cells = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
