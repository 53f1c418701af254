"""The comparison of two evaluations: one self-contained HTML page, and tables in the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from protege.core.files import write_atomically
from protege.core.runs import plain_yaml
from protege.core.runs.run_folder import CONFIG
from protege.core.terminal import compact_table, console
from protege.core.terminal import print_table as print_rows

from . import plots
from .comparison import compare, different, flat, verdicts
from .page import page, svg_images
from .results import DATA, file_of_run, load_results
from .table import decimals, with_interval

PAGE = "comparison.html"
PLACES = ("first", "second")
OUTCOMES = {"run.experiment_name", "run.results_dir"}
"""Keys of a run's config that always differ."""


def write_comparison(folders: Sequence[Path], output: Path) -> tuple[Path, dict[str, Any]]:
    """Build comparison.html in the folder `output` from the results in two folders.

    Args:
        folders: two, with evaluation.json, or run folders with `evaluation/`.

    Returns:
        the page, and the content of `compare`.

    Raises:
        UserError: the results are missing, damaged, or cannot be compared.
    """
    first, second = (x if (x / DATA).exists() else x / "evaluation" for x in folders)
    (first_data, first_arrays), (second_data, second_arrays) = load_results(first), load_results(second)
    data = compare([first_data, second_data], [str(first), str(second)])
    configs = [_config(folder, x) for folder, x in ((first, first_data), (second, second_data))]
    if all(configs):
        data["settings"] |= different(*(flat(config) for config in configs), without=OUTCOMES)
    tasks = [first_data["tasks"], second_data["tasks"]]
    errors = [{task: x[f"{task}/error"] for task in tasks[0]} for x in (first_arrays, second_arrays)]
    figures = {
        "success": plots.compared_success_bars(tasks),
        "errors": plots.compared_error_curves(tasks[0], errors),
    }
    html = page(
        PAGE,
        data=data,
        policies=[first_data, second_data],
        colors=plots.POLICY_COLORS,
        images=svg_images(figures),
        verdicts=verdicts(data),
        decimals=decimals,
        has_configs=all(configs),
    )
    write_atomically(output / PAGE, lambda file: file.write(html.encode()))
    return output / PAGE, data


def _config(folder: Path, data: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the run that was evaluated; empty if there is no config.yaml near it, or it is damaged."""
    path = file_of_run(CONFIG, folder, Path(data["checkpoint"]))
    try:
        found = plain_yaml.read_file(path) if path else None
    except (OSError, plain_yaml.NotPlainError):
        found = None
    return found if isinstance(found, dict) else {}


def print_comparison(data: Mapping[str, Any], terminal: Console | None = None) -> None:
    """Print one table for each task: both values, and the difference above its 95 % interval; see `table.print_table`."""
    terminal = terminal or console()
    for place, name in zip(PLACES, data["names"], strict=True):
        terminal.print(f"{place}: {name}")
    for x in data["tasks"].values():
        table = compact_table(x["title"])
        table.add_column("measure")
        for head in (*PLACES, "difference"):
            table.add_column(head, justify="right")
        table.add_column("better")
        for row in x["rows"]:
            values = (with_interval(value, None, ".3g", f" {row['unit']}") for value in row["values"])
            difference = with_interval(row["difference"], row["interval"], "+.3g")
            better = "not clear" if row["better"] is None else PLACES[row["better"]]
            table.add_row(row["title"], *values, difference, better)
        print_rows(table, terminal)
