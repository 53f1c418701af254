"""The report of an evaluation: one self-contained HTML page."""

import base64
import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from protege.core.errors import UserError
from protege.core.files import write_atomically
from protege.core.runs.run_folder import read_metrics

from . import plots
from .conditions import SCHEMA_VERSION
from .evaluate import ARRAYS, DATA
from .page import page
from .table import short_names

PAGE = "evaluation.html"
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
    """Build evaluation.html from evaluation.json and evaluation.npz.

    Raises:
        UserError: a file is missing, damaged, or of another version.
    """
    data, arrays = _load(folder)
    tasks = data["tasks"]
    figures = {
        "success": plots.success_bars(tasks),
        "errors": plots.error_curves(tasks, {task: arrays[f"{task}/error"] for task in tasks}),
    }
    if traces := [x for name, x in arrays.items() if name.startswith("trace/")]:
        figures["paths"] = plots.path_map(traces)
    if curves := plots.training_curves(_training_log(folder, Path(data["checkpoint"])), CURVES):
        figures["training"] = curves
    images = {name: base64.b64encode(svg.encode()).decode() for name, svg in figures.items()}
    motion_quality = next(iter(tasks.values()), {}).get("conduct", {})  # older results have no motion quality
    html = page(PAGE, data=data, images=images, short_names=short_names, motion_quality=motion_quality)
    write_atomically(folder / PAGE, lambda file: file.write(html.encode()))
    return folder / PAGE


def _load(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    for name in (DATA, ARRAYS):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing", "Make it with `protege evaluate --output`")
    try:
        data = json.loads((folder / DATA).read_text())
        arrays = _read_arrays(folder / ARRAYS)
    except (OSError, RecursionError, ValueError) as error:
        raise UserError(f"{folder}: {DATA} or {ARRAYS} is damaged", "Evaluate again") from error
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{folder / DATA} is of another version", "Evaluate again")
    if missing := [task for task in data["tasks"] if f"{task}/error" not in arrays]:
        raise UserError(f"{folder / ARRAYS} has no errors of {missing[0]}", "Evaluate again")
    return data, arrays


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; raises ValueError if it is not one, or is truncated."""
    if not is_zipfile(path):
        raise ValueError(f"{path} is no .npz file")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (BadZipFile, EOFError, KeyError, RuntimeError, zlib.error) as error:
        raise ValueError(f"{path} is cut off") from error


def _training_log(folder: Path, checkpoint: Path) -> list[dict[str, float]]:
    """Rows of the run's metrics.jsonl, searched near the checkpoint and the results; empty if there is none."""
    candidates: Iterable[Path] = (checkpoint, checkpoint.parent, folder, folder.parent)
    for place in candidates:
        if (place / "metrics.jsonl").is_file():
            return read_metrics(place / "metrics.jsonl")
    return []
