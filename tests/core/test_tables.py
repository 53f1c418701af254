"""Tables without truncated cells at any terminal width."""

import pytest
from rich.console import Console

from protege.core.runs import pipeline
from protege.core.terminal import compact_table, print_table


def shown(width: int) -> str:
    """A table of two rows, 27 columns wide, as a terminal of some width shows it."""
    table = compact_table("two rows")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_row("actor/kl_loss", "0.125\n[0.1, 0.2]")
    table.add_row("episode/length", "")
    console = Console(width=width, record=True, force_terminal=False)
    print_table(table, console)
    return console.export_text()


def test_a_table_that_fits_is_printed_as_a_table():
    lines = [line.split() for line in shown(40).splitlines()]
    assert lines[0] == ["two", "rows"] and ["metric", "value"] in lines and ["actor/kl_loss", "0.125"] in lines
    assert ["[0.1,", "0.2]"] in lines


def test_a_table_that_is_too_wide_is_printed_as_one_block_per_row():
    lines = [line.rstrip() for line in shown(24).splitlines()]
    assert lines == ["two rows", "", "metric: actor/kl_loss", "value: 0.125 [0.1, 0.2]", "", "metric: episode/length"]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_pipelines_summary_truncates_no_cell(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    row = {"run": "path_follower", "metric": "actor/prior_imitation_loss", "first": 0.123456, "last": 0.0012345}
    rows = [row | {"factor": 100.004, "wanted": 5.0, "met": True}]
    pipeline._print_summary([([pipeline.Step("path_follower", []), pipeline.Step("steering", [])], 90.0)], rows)
    text = capsys.readouterr().out
    for cell in ("path_follower", "actor/prior_imitation_loss", "0.1235", "0.001234", "100.00", "5 ✓", "1.5 minutes"):
        assert cell in text
    assert ("metric: actor" in text) == (width == 60)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
