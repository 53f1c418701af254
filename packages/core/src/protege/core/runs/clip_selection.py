"""Selects the clips of a run by the values of `--motion-file`, a split and tags. Many clips are packed, fewer are loaded."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..motions.clip import Clip, clip_files, load_clips
from ..motions.digests import digests
from ..motions.frames import ClipFrames, Frames, frame_rate
from ..motions.packed import Entry, PackedLibrary, is_packed, read_index
from ..motions.packing import cached_path, content_key, pack
from ..motions.provenance import Origin, origins, summed
from ..robots.robot import Robot
from .manifest import MotionFile, check_digests, is_manifest, read_manifest
from .resuming import clip_digests

ALL = "all"
BYTES_PER_FRAME = 500
"""Approximate size of a frame in a motion file of another format, whose number of frames is unknown until it is read."""
MAX_LISTED_FILES = 200
"""Largest number of files whose digests a checkpoint holds individually. For more files it holds one digest of all."""
MAX_SAMPLE_CLIPS = 100
GAIT_TAG = "gait"
"""Tag of the clips in a packed library that are searched for gaits; searching thousands of clips would take too long."""


@dataclass(frozen=True)
class SelectedMotions:
    """The clips of a run.

    Attributes:
        frames: frames of all clips.
        clips: searched for gaits: all, or in a packed library those with the tag `gait`.
    """

    frames: Frames
    clips: list[Clip]


def motions_in_memory(clips: Sequence[Clip], robot: Robot, weights: Sequence[float] | None = None) -> SelectedMotions:
    """A run's clips from a list of clips in memory."""
    return SelectedMotions(ClipFrames(clips, robot, weights), list(clips))


def select(values: Sequence[str], split: str = ALL, tags: Sequence[str] = ()) -> list[MotionFile]:
    """The motion files that the values refer to, of one split and with one of the tags.

    Files that are in no manifest belong to every split and have no tags.

    Raises:
        UserError: no file is found or selected, or a file differs from its manifest's digest.
    """
    if not values:
        clip_files([])  # raises the error for no files
    found = list[MotionFile]()
    for value in values:
        if is_manifest(value):
            wanted = [x for x in read_manifest(Path(value)) if _fits(x, split, tags)]
            check_digests(Path(value), wanted)
            found += wanted
        elif not tags:
            found += [MotionFile(file) for file in clip_files([value])]
    _require(bool(found), values, split, tags)
    return found


def open_motions(
    values: Sequence[str], robot: Robot, split: str = ALL, tags: Sequence[str] = (), most: int = 1_000_000
) -> SelectedMotions:
    """The clips that the values refer to: in memory, or packed and memory-mapped if they have more than `most` frames.

    Raises:
        UserError: see `select`; or a clip cannot be used.
    """
    if any(is_packed(Path(value)) for value in values):
        if len(values) > 1:
            raise UserError("a packed library is one --motion-file by itself", "Pack the others with it")
        return _packed(PackedLibrary(Path(values[0]), read_index(Path(values[0]), robot)), values, split, tags)
    listed = select(values, split, tags)
    weights = [x.weight for x in listed]
    if not any(weights):
        raise UserError(f"all clips of {' '.join(values)} have the weight 0", "Give one a positive weight")
    if sum(_seconds(x.file, robot) for x in listed) * frame_rate(robot) <= most:
        if len(set(weights)) == 1:
            return motions_in_memory(load_clips([x.file for x in listed], robot), robot)
        loaded = [(clip, x.weight) for x in listed for clip in load_clips([x.file], robot)]
        return motions_in_memory([clip for clip, _ in loaded], robot, [weight for _, weight in loaded])
    everything = select(values)  # all splits and tags share one packed file
    return _packed(pack_listed(everything, robot), values, split, tags, everything)


def pack_listed(listed: Sequence[MotionFile], robot: Robot, output: Path | None = None) -> PackedLibrary:
    """Pack motion files into `output`, or into the cache unless it already contains them."""
    found = digests([x.file for x in listed])
    key = content_key(robot, [(x.file.stem, digest) for x, digest in zip(listed, found, strict=True)])
    path = output or cached_path(key)
    if output is not None or not path.is_file():
        known = [Entry(x.file.stem, 0, x.weight, x.tags, x.split, y) for x, y in zip(listed, found, strict=True)]
        pack([x.file for x in listed], known, robot, path, key)
    return PackedLibrary(path, read_index(path, robot))


def _packed(
    library: PackedLibrary, values: Sequence[str], split: str, tags: Sequence[str], listed: Sequence[MotionFile] = ()
) -> SelectedMotions:
    """The clips of a packed library of one split and with one of the tags.

    Args:
        listed: the files that the library was packed from; their weights, tags and splits replace those in the library.
    """
    entries = _listed_entries(library.entries, listed) if listed else library.entries
    places = [i for i, x in enumerate(entries) if _fits(x, split, tags)]
    _require(any(entries[i].weight for i in places), values, split, tags)
    chosen = PackedLibrary(library.path, library.index, places, [entries[i].weight for i in places])
    gaits = [i for i, place in enumerate(places) if GAIT_TAG in entries[place].tags]
    return SelectedMotions(chosen, [chosen.clip(i) for i in gaits])


def _listed_entries(entries: Sequence[Entry], listed: Sequence[MotionFile]) -> list[MotionFile]:
    """For each clip the file that it was packed from. Files with the same contents have equally many clips, in file order."""
    files = defaultdict[str, list[MotionFile]](list)
    for x, digest in zip(listed, digests([x.file for x in listed]), strict=True):
        files[digest].append(x)
    clips, passed = Counter(entry.sha256 for entry in entries), Counter[str]()
    found = list[MotionFile]()
    for digest in (entry.sha256 for entry in entries):
        found.append(files[digest][passed[digest] * len(files[digest]) // clips[digest]])
        passed[digest] += 1
    return found


def some_clips(values: Sequence[str], robot: Robot, split: str = ALL, tags: Sequence[str] = ()) -> list[Clip]:
    """The first clips that the values refer to, at most `MAX_SAMPLE_CLIPS`.

    Raises:
        UserError: see `select`.
    """
    if any(is_packed(Path(value)) for value in values):
        frames = open_motions(values, robot, split, tags).frames
        return (
            [frames.clip(i) for i in range(min(MAX_SAMPLE_CLIPS, len(frames.names)))]
            if isinstance(frames, PackedLibrary)
            else []
        )
    return load_clips([x.file for x in select(values, split, tags)[:MAX_SAMPLE_CLIPS]], robot)


def motion_digests(values: Sequence[str], split: str = ALL, tags: Sequence[str] = ()) -> dict[str, str]:
    """SHA-256 of the motion files of a training by path: one per file, or one for many files together.

    Raises:
        UserError: see `select`.
    """
    if any(is_packed(Path(value)) for value in values):
        return dict(zip(values, digests([Path(value) for value in values]), strict=True))
    files = [x.file for x in select(values, split, tags)]
    if len(files) <= MAX_LISTED_FILES:
        return clip_digests([str(file) for file in files])
    return {" ".join(values): hashlib.sha256(" ".join(digests(files)).encode()).hexdigest()}


def motion_origins(values: Sequence[str], robot: Robot, split: str = ALL, tags: Sequence[str] = ()) -> list[Origin]:
    """Origins of the clips of a training: one per clip, or for many clips one per source and licence.

    Raises:
        UserError: see `select`.
    """
    if any(is_packed(Path(value)) for value in values):
        entries = [x for x in read_index(Path(values[0]), robot).entries if _fits(x, split, tags)]
        found = [Origin(x.name, x.source, x.licence, x.sha256) for x in entries]
    else:
        found = origins([str(x.file) for x in select(values, split, tags)], robot)
    return found if len(found) <= MAX_LISTED_FILES else summed(found)


def _fits(x: MotionFile | Entry, split: str, tags: Sequence[str]) -> bool:
    return split in (ALL, x.split) and (not tags or bool(set(tags) & set(x.tags)))


def _require(found: bool, values: Sequence[str], split: str, tags: Sequence[str]) -> None:
    if not found:
        conditions = [f"the split {split}"] * (split != ALL) + [f"the tags {', '.join(tags)}"] * bool(tags)
        raise UserError(
            f"no clip of {' '.join(values)} has {' and '.join(conditions) or 'a positive weight'}",
            "See its manifest: docs/libraries.md",
        )


def _seconds(file: Path, robot: Robot) -> float:
    """Duration of the motion in a file, s: exact for a clip, approximate for other formats."""
    try:
        time = np.lib.format.open_memmap(file, mode="r")["time"]
        return float(time[-1] - time[0])
    except (OSError, ValueError, TypeError, KeyError, IndexError, SyntaxError):
        # Loading the file later raises an error with the reason.
        return file.stat().st_size / BYTES_PER_FRAME / frame_rate(robot) if file.is_file() else 0.0
