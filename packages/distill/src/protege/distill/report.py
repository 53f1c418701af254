"""The report of an evaluation: one self-contained HTML page."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protege.core.files import write_atomically
from protege.core.runs.run_folder import LOG, read_metrics

from . import plots
from .page import page, svg_images
from .results import file_of_run, load_results, task_arrays
from .summary import summary
from .table import decimals, short_names
from .worst import worst_clips, worst_episodes

PAGE = "evaluation.html"
MAX_FILMS_MB = 10.0
"""Films in the page, as base64 text; further ones stay in their folder."""
CURVES = {
    "Imitation": ["actor/distillation_loss"],
    "Imitation by task": [f"distillation_loss/{task}" for task in plots.COLORS],
    "KL to the teachers": ["actor/kl_loss"],
    "Values": ["critic/value_distillation_loss", "critic/value_loss"],
    "Success while training": [f"evaluation/{task}/success" for task in plots.COLORS],
    "Episode length": ["episode/length"],
}
"""Panels of the training curves: title and metrics."""


def write_report(folder: Path) -> Path:
    """Build evaluation.html from evaluation.json, evaluation.npz and the films.

    Raises:
        UserError: a file is missing, damaged, or of another version.
    """
    data, arrays = load_results(folder)
    tasks = data["tasks"]
    figures = {
        "success": plots.success_bars(tasks),
        "errors": plots.error_curves(tasks, {task: arrays[f"{task}/error"] for task in tasks}),
    }
    if traces := [x for name, x in arrays.items() if name.startswith("trace/")]:
        figures["paths"] = plots.path_map(traces)
    log = file_of_run(LOG, folder, Path(data["checkpoint"]))
    if log and (curves := plots.training_curves(read_metrics(log), CURVES)):
        figures["training"] = curves
    measures = next(iter(tasks.values())).get("conduct", {})  # older results have none
    html = page(
        PAGE,
        data=data,
        images=svg_images(figures),
        summary=summary(data),
        clips={task: _clips(x) for task, x in tasks.items() if x.get("clips")},
        episodes={task: worst_episodes(task_arrays(arrays, task)) for task in tasks},
        films=embedded_films(folder, tasks),
        measures=measures,
        digits={name: decimals(x["conduct"][name]["value"] for x in tasks.values()) for name in measures},
    )
    write_atomically(folder / PAGE, lambda file: file.write(html.encode()))
    return folder / PAGE


def _clips(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task's clips by their short names, the worst first."""
    clips = short_names(task["clips"])
    return {name: clips[name] for name in worst_clips(clips)}


def embedded_films(
    folder: Path, tasks: Mapping[str, Mapping[str, Any]], limit: float = MAX_FILMS_MB
) -> dict[str, list[dict[str, Any]]]:
    """The films of each task as in evaluation.json, each with its `source`: base64 text, or "" once `limit` MB are full.

    The first films of all tasks come before the second ones. A film whose file is missing has no text either.
    """
    films = {name: [dict(film) for film in x["films"]] for name, x in tasks.items() if "films" in x}
    total = 0.0
    for k in range(max(map(len, films.values()), default=0)):
        for film in (entries[k] for entries in films.values() if k < len(entries)):
            path = folder / film["file"]
            text = base64.b64encode(path.read_bytes()).decode() if path.is_file() else ""
            film["source"] = text if total + len(text) / 1e6 <= limit else ""
            total += len(film["source"]) / 1e6
    return films
