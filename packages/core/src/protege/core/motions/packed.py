"""Packed libraries: thousands of clips of one robot in one memory-mapped file. docs/libraries.md describes the format.

The file contains a NumPy array of frames, as a clip does, followed by an array of bytes with the index as JSON.
"""

import io
import json
import mmap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import UserError
from ..robots.robot import Robot
from .clip import Clip
from .clip_file import UNREADABLE
from .frames import frame_rate
from .library import different_names
from .poses import Poses

SUFFIX = ".library"
FORMAT_VERSION = 1
REMEDY = "Pack its clips again: protege sim motions pack"


@dataclass(frozen=True)
class Entry:
    """A clip in the index of a packed library.

    Attributes:
        name: the file's stem.
        frames: number of frames.
        weight, tags, split: see `protege.core.runs.manifest`.
        sha256: of the original motion file.
        source, licence: origin of the motion, and its licence; may be empty.
    """

    name: str
    frames: int
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    split: str = "train"
    sha256: str = ""
    source: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Index:
    """The index of a packed library.

    Attributes:
        robot: name of the clips' robot.
        joint_names: of the columns of `joint_pos`.
        rate: frame rate, Hz.
        entries: the clips.
        key: hash of its contents, see `packing.content_key`.
    """

    robot: str
    joint_names: tuple[str, ...]
    rate: float
    entries: tuple[Entry, ...]
    key: str = ""
    version: int = field(default=FORMAT_VERSION)


def frame_dtype(joints: int) -> np.dtype:
    """Type of a packed frame: root position (3) m, root rotation (4) wxyz, joint angles (J) rad."""
    return np.dtype([("root_pos_w", "<f4", 3), ("root_quat_w", "<f4", 4), ("joint_pos", "<f4", joints)])


def write_index(file: BinaryIO, index: Index) -> None:
    """Write the index, which follows the frames."""
    np.save(file, np.frombuffer(json.dumps(asdict(index), ensure_ascii=False).encode(), np.uint8), allow_pickle=False)


class PackedLibrary:
    """All or some clips of a packed library, as `Frames`.

    Args:
        path: of the file, which is memory-mapped.
        index: see `read_index`.
        chosen: indices of the clips in the file; all by default.
        weights: of these clips; by default those in the index.
    """

    def __init__(
        self, path: Path, index: Index, chosen: Sequence[int] | None = None, weights: Sequence[float] | None = None
    ) -> None:
        self.path, self.index, self.rate = path, index, index.rate
        places = range(len(index.entries)) if chosen is None else chosen
        entries = [index.entries[i] for i in places]
        all_counts = np.array([entry.frames for entry in index.entries])
        self.entries = entries
        self.names = different_names([entry.name for entry in entries])
        self.counts = all_counts[list(places)]
        self._starts = (all_counts.cumsum() - all_counts)[list(places)]
        self.weights = np.array([entry.weight for entry in entries] if weights is None else weights, dtype=float)
        self._dtype = frame_dtype(len(index.joint_names))
        self._offset, _ = _frames_at(path)

    @cached_property
    def _map(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def poses(self, clip: int) -> Poses:
        start = self._offset + int(self._starts[clip]) * self._dtype.itemsize
        rows = np.frombuffer(self._map, self._dtype, int(self.counts[clip]), start)
        copies = Poses(*(rows[name].copy() for name in Poses._fields))
        page = mmap.PAGESIZE
        first = start // page * page
        # The pages stay in the system's cache but no longer count as this process's memory.
        self._map.madvise(mmap.MADV_DONTNEED, first, start + rows.nbytes - first)
        return copies

    def clip(self, i: int) -> Clip:
        """A clip as `load_clip` would load it from its own file."""
        poses, entry, index = self.poses(i), self.entries[i], self.index
        time = np.arange(len(poses.joint_pos)) / self.rate
        pos, quat, joint_pos = (x.astype(np.float64) for x in poses)
        facts = (index.joint_names, index.robot, self.rate, entry.source, entry.licence)
        return Clip(self.names[i], time, pos, quat, joint_pos, *facts)


def is_packed(path: Path) -> bool:
    """Whether a path is a packed library."""
    return path.suffix == SUFFIX and path.is_file()


def read_index(path: Path, robot: Robot) -> Index:
    """Read the index of a packed library of a robot.

    Raises:
        UserError: the file is not a packed library, is damaged, or is for another robot or rate.
    """
    try:
        offset, frames = _frames_at(path)
        with path.open("rb") as file:
            file.seek(offset + frames)
            text = np.load(io.BytesIO(file.read()), allow_pickle=False).tobytes()
        index = _index(json.loads(text))
    except (OSError, KeyError, AttributeError, *UNREADABLE) as error:
        reason = getattr(error, "strerror", None) or "it is damaged, or no packed library"
        raise UserError(f"cannot read {path} ({reason})", REMEDY) from error
    if (index.robot, index.joint_names) != (robot.name, robot.joint_names):
        raise UserError(f"{path} holds clips of the robot {index.robot}, not of {robot.name} as it is now", REMEDY)
    if index.rate != frame_rate(robot):
        raise UserError(f"{path} has {index.rate:g} frames a second, {robot.name} needs {frame_rate(robot):g}", REMEDY)
    if sum(entry.frames for entry in index.entries) * frame_dtype(len(index.joint_names)).itemsize != frames:
        raise UserError(f"{path} has other frames than its index says", REMEDY)
    return index


def _frames_at(path: Path) -> tuple[int, int]:
    """Offset and size of the frames, bytes."""
    frames = np.lib.format.open_memmap(path, mode="r")
    return frames.offset, frames.nbytes


def _index(data: dict[str, Any]) -> Index:
    if data["version"] != FORMAT_VERSION:
        raise ValueError
    entries = tuple(Entry(**{**entry, "tags": tuple(entry["tags"])}) for entry in data["entries"])
    if not entries or any(not isinstance(x.frames, int) or x.frames < 3 for x in entries):
        raise ValueError
    return Index(data["robot"], tuple(data["joint_names"]), float(data["rate"]), entries, data["key"])
