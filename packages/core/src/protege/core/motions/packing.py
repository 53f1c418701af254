"""Packs clips into one file with several processes."""

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from ..errors import UserError
from ..progress import Progress
from ..robots.plain import to_plain
from ..robots.robot import Robot
from ..threads import available_cores
from . import clip as clips
from .digests import cache_folder
from .frames import frame_rate, resampled
from .packed import FORMAT_VERSION, SUFFIX, Entry, Index, frame_dtype, write_index
from .table import frame_counts

MAX_SERIAL_FILES = 64
"""Largest number of files that are packed without worker processes, which take seconds to start."""
FILES_PER_JOB = 16
"""Number of files in a job of a worker process."""

log = logging.getLogger(__name__)


def content_key(robot: Robot, named: Sequence[tuple[str, str]]) -> str:
    """Hash of everything that a packed library depends on: the robot, and (name, SHA-256) of each clip's file."""
    plain = json.dumps([FORMAT_VERSION, to_plain(robot), frame_rate(robot), list(named)], sort_keys=True)
    return hashlib.sha256(plain.encode()).hexdigest()


def cached_path(key: str) -> Path:
    """Path of the cached library for a `content_key`."""
    return cache_folder() / f"{key[:32]}{SUFFIX}"


def pack(files: Sequence[Path], entries: Sequence[Entry], robot: Robot, output: Path, key: str) -> int:
    """Write a packed library atomically. Clips are checked as in training; progress is printed to stderr.

    Args:
        files: clips, or motions in other formats. A file with several motions becomes several clips.
        entries: one per file; names, frames, source and licence are filled in.
        key: see `content_key`.

    Returns:
        number of clips with warnings.

    Raises:
        UserError: files cannot be used (up to ten are named), or the folder is not writable.
    """
    pieces = [list(range(i, min(i + FILES_PER_JOB, len(files)))) for i in range(0, len(files), FILES_PER_JOB)]
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".packing-") as folder:
            results, done = dict[int, list[_Packed]](), 0
            with Progress("clips packed", len(files)) as progress:
                for first, result in _packed(files, pieces, robot, Path(folder)):
                    results[first], done = result, done + len(pieces[first // FILES_PER_JOB])
                    progress.at(done)
            ordered = [item for first in sorted(results) for item in results[first]]
            if faults := [item for item in ordered if isinstance(item, UserError)]:
                raise UserError.together(faults[:10])
            whole = [
                replace(entries[i], name=name, frames=frames, source=source, licence=licence)
                for i, name, frames, source, licence, _ in (item for item in ordered if isinstance(item, tuple))
            ]
            index = Index(robot.name, robot.joint_names, frame_rate(robot), tuple(whole), key)
            _join(Path(folder), sorted(results), index, output)
    except OSError as error:
        raise UserError(
            f"cannot write {output} ({error.strerror})", "Is the disk full, or its folder read-only?"
        ) from error
    except BrokenProcessPool as error:
        raise UserError("a process that packed clips was killed", "Was the memory full? Try again") from error
    return sum(bool(item[-1]) for item in ordered if isinstance(item, tuple))


_Packed = UserError | tuple[int, str, int, str, str, int]
"""An error, or a clip: index of its file, name, frames, source, licence, number of warnings."""


def _packed(
    files: Sequence[Path], pieces: list[list[int]], robot: Robot, folder: Path
) -> Iterator[tuple[int, list[_Packed]]]:
    """The results of all pieces as they are ready, with the index of the piece's first file."""
    jobs = [([files[i] for i in piece], piece[0], robot, folder) for piece in pieces]
    if len(files) <= MAX_SERIAL_FILES:
        yield from (_pack_piece(*job) for job in jobs)
        return
    context = get_context("spawn")  # forking a process with torch's threads may deadlock
    with ProcessPoolExecutor(available_cores(), context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for future in as_completed([pool.submit(_pack_piece, *job) for job in jobs]):
            yield future.result()


def _pack_piece(files: Sequence[Path], first: int, robot: Robot, folder: Path) -> tuple[int, list[_Packed]]:
    """Write the frames of the clips of some files to `folder/<first>`."""
    found, dtype, rate = list[_Packed](), frame_dtype(robot.num_joints), frame_rate(robot)
    clips.log.setLevel(logging.ERROR)  # `pack` returns the number of warnings instead of logging thousands
    try:
        with (folder / str(first)).open("wb") as output:
            for place, file in enumerate(files, start=first):
                try:
                    loaded = clips.load_clips([file], robot)
                except UserError as error:
                    found.append(UserError(error.problem, error.remedy))
                    continue
                for clip in loaded:
                    rows = np.empty(frame_counts([clip], rate)[0], dtype)
                    for name, x in resampled(clip, rate)._asdict().items():
                        rows[name] = x
                    output.write(rows.tobytes())
                    found.append((place, clip.name, len(rows), clip.source, clip.licence, len(clip.warnings)))
    finally:
        clips.log.setLevel(logging.NOTSET)
    return first, found


def _join(folder: Path, firsts: Sequence[int], index: Index, output: Path) -> None:
    """Join the pieces' frames and the index to one file, and rename it to `output` when it is complete."""
    dtype, whole = frame_dtype(len(index.joint_names)), folder / "whole"
    with whole.open("wb") as file:
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (sum(entry.frames for entry in index.entries),),
        }
        np.lib.format.write_array_header_1_0(file, header)
        for first in firsts:
            file.write((folder / str(first)).read_bytes())
            (folder / str(first)).unlink()
        write_index(file, index)
        file.flush()
        os.fsync(file.fileno())
    whole.chmod(0o644)
    whole.replace(output)
