"""The files of an evaluation's results, and what lies near them."""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np

from protege.core.errors import UserError

from .conditions import SCHEMA_VERSION

DATA, ARRAYS = "evaluation.json", "evaluation.npz"


def load_results(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The contents of evaluation.json and evaluation.npz.

    Raises:
        UserError: a file is missing, damaged, or of another version.
    """
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


def file_of_run(name: str, folder: Path, checkpoint: Path) -> Path | None:
    """A file of the run, searched near the checkpoint and the results; None if there is none."""
    candidates: Iterable[Path] = (checkpoint, checkpoint.parent, folder, folder.parent)
    return next((place / name for place in candidates if (place / name).is_file()), None)


def task_arrays(arrays: dict[str, np.ndarray], task: str) -> dict[str, np.ndarray]:
    """The arrays of one task by their names after `<task>/`, (E,) each."""
    return {key.removeprefix(f"{task}/"): x for key, x in arrays.items() if key.rpartition("/")[0] == task}
