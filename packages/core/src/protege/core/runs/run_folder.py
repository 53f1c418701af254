"""The files of a run's folder: how the log is read, and what an earlier or a killed run left there."""

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
ASIDE = "previous"
"""Begins the names of the folders that hold earlier runs of the same name."""


def read_metrics(path: Path, remedy: str = "Delete it") -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, one for each iteration; none if it is not there.

    A last line without its end is skipped: the process that wrote it was killed, or the disk was full.

    Args:
        remedy: what to do about a damaged one.

    Raises:
        UserError: another line is no JSON object.
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
    """Keep the rows of a `metrics.jsonl` before an iteration: the others come again. Does nothing if it is not there.

    Raises:
        UserError: see `read_metrics`.
    """
    if log.is_file():
        rows = read_metrics(log, "Delete it: the run goes on without its old rows")
        kept = [json.dumps(row) + "\n" for row in rows if _number(row) < iteration]
        write_atomically(log, lambda file: file.write("".join(kept).encode()))


def _number(row: dict[str, Any]) -> float:
    """The iteration of a row of the log; infinite if it has none."""
    number = row.get("iteration")
    return number if isinstance(number, int) else inf


def remove_temporaries(folder: Path, names: Sequence[str] = (LAST, BEST, CONFIG, LOG)) -> None:
    """Remove what `write_atomically` was writing when an earlier process was killed. Only for who holds the folder's lock.

    Args:
        names: of the files whose temporaries these are.
    """
    torn = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.[a-z0-9_]{{8}}")
    for path in list(folder.iterdir()):
        if torn.fullmatch(path.name):
            path.unlink(missing_ok=True)


def move_aside(folder: Path) -> Path | None:
    """Move an earlier run's files into `previous-N` in the same folder.

    Killed in between, the next call goes on with it: the checkpoint goes first, so that what is left is no run to go on with.

    Returns:
        that folder; None if there is no earlier checkpoint to keep.
    """
    half = folder / f".{ASIDE}"
    if not (half.is_dir() or any((folder / name).is_file() for name in (LAST, BEST))):
        return None
    half.mkdir(exist_ok=True)
    for path in list(_files(folder)):
        path.replace(half / path.name)
    number = 1 + max((int(path.name.rpartition("-")[2]) for path in _earlier(folder)), default=0)
    return half.rename(folder / f"{ASIDE}-{number}")


def _files(folder: Path) -> Iterator[Path]:
    """What belongs to the run in a folder, its checkpoint first."""
    for name in (LAST, BEST, CONFIG, LOG, "evaluation"):
        if (folder / name).exists():
            yield folder / name
    yield from sorted(folder.glob(EVENTS))


def _earlier(folder: Path) -> list[Path]:
    return [path for path in folder.glob(f"{ASIDE}-*") if re.fullmatch(rf"{ASIDE}-[0-9]+", path.name)]
