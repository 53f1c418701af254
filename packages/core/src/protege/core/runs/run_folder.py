"""The files of a run's folder: reading the log, and cleaning up after an earlier or killed run."""

import json
import re
from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_atomically

LAST, BEST, CONFIG, LOG = "last.ckpt", "best.ckpt", "config.yaml", "metrics.jsonl"
EVENTS = "events.out.tfevents.*"
PREVIOUS = "previous"
"""Prefix of the folders of earlier runs with the same name."""

QUICK_SAVE, SAVE_SHARE = 0.5, 0.05
"""Seconds up to which a checkpoint is written at every interval, and the share of a run's time that slower ones may take."""


def pause_after_save(seconds: float) -> float:
    """Shortest time until a run's next checkpoint, s, after one that took `seconds`."""
    return 0.0 if seconds <= QUICK_SAVE else seconds / SAVE_SHARE


def read_metrics(path: Path, remedy: str = "Delete it") -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, one per iteration; empty if the file does not exist.

    An incomplete last line is skipped: its process was killed, or the disk was full.

    Args:
        remedy: for a damaged file.

    Raises:
        UserError: another line is not a JSON object.
    """
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise UserError(f"{path} is damaged in line {number}", remedy)
        rows.append(row)
    return rows


def drop_rows(log: Path, iteration: int) -> None:
    """Remove the rows of a `metrics.jsonl` from an iteration on, because they will be repeated. The file may be missing.

    Raises:
        UserError: see `read_metrics`.
    """
    if log.is_file():
        rows = read_metrics(log, "Delete it: the run continues without its old rows")
        lines = [json.dumps(row) + "\n" for row in rows if _number(row) < iteration]
        write_atomically(log, lambda file: file.write("".join(lines).encode()))


def _number(row: dict[str, Any]) -> float:
    """The iteration of a row of the log; infinite if there is none."""
    number = row.get("iteration")
    return number if isinstance(number, int) else inf


def remove_temporaries(folder: Path, names: Sequence[str] = (LAST, BEST, CONFIG, LOG)) -> None:
    """Remove temporary files of `write_atomically` from a killed process. The caller must hold the folder's lock.

    Args:
        names: of the final files.
    """
    temporary = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[a-z0-9_]{{8}}")
    for path in list(folder.iterdir()):
        if temporary.fullmatch(path.name):
            path.unlink(missing_ok=True)


def move_aside(folder: Path) -> Path | None:
    """Move an earlier run's files into `previous-N` in the same folder.

    If the process is killed meanwhile, the next call completes it. The checkpoint is moved first, so that the rest cannot be
    resumed.

    Returns:
        the new folder; None if there is no earlier checkpoint.
    """
    half = folder / f".{PREVIOUS}"
    if not (half.is_dir() or any((folder / name).is_file() for name in (LAST, BEST))):
        return None
    half.mkdir(exist_ok=True)
    for path in list(_files(folder)):
        path.replace(half / path.name)
    number = 1 + max((int(path.name.rpartition("-")[2]) for path in _earlier(folder)), default=0)
    return half.rename(folder / f"{PREVIOUS}-{number}")


def _files(folder: Path) -> Iterator[Path]:
    """The files that belong to the run in a folder, checkpoints first."""
    for name in (LAST, BEST, CONFIG, LOG, "evaluation"):
        if (folder / name).exists():
            yield folder / name
    yield from sorted(folder.glob(EVENTS))


def _earlier(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{PREVIOUS}-*") if re.fullmatch(rf"{PREVIOUS}-[0-9]+", path.name)]
