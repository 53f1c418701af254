"""Reading, checking and writing the file format of motion clips, which docs/clips.md describes.

Only numpy and the standard library are used, because `protege.deploy` shares this file (see docs/architecture.md).
"""

import io
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np

from .clip_paths import ClipError
from .file_kinds import SNIFFED, file_kind

FIELDS = {"time": 1, "root_pos_w": 3, "root_quat_w": 4, "joint_pos": 0}
"""Fields of a frame and their number of values; 0 means one per joint."""
MAX_FRAMES = 1_000_000
"""Limit of a clip's frames. Twenty minutes at 500 Hz are 600 000."""
MAX_FACTS_BYTES = 1_000_000
"""Limit of the metadata after the frames, bytes."""
LENGTH_TOLERANCE = 0.01
"""Tolerance of a quaternion's length."""
UNREADABLE = (EOFError, ValueError, TypeError, SyntaxError, TokenError, OverflowError, MemoryError, RecursionError)
"""Exceptions of numpy and json for damaged headers, which are parsed as Python."""
FORMAT = "docs/clips.md describes the format"


@dataclass(frozen=True)
class Facts:
    """Metadata of a clip. All of it is optional.

    Attributes:
        joint_names: of the columns of `joint_pos`, in their order.
        robot: name of the robot.
        fps: frame rate of the recording, Hz.
        source: origin of the motion.
        licence: of the motion.
    """

    joint_names: tuple[str, ...] = ()
    robot: str = ""
    fps: float | None = None
    source: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Motion:
    """The contents of a clip's file, T frames of J joints.

    Attributes:
        time: (T,) s, increasing.
        root_pos_w: (T, 3) m.
        root_quat_w: (T, 4) wxyz, of unit length.
        joint_pos: (T, J) rad.
        facts: metadata.
    """

    time: np.ndarray
    root_pos_w: np.ndarray
    root_quat_w: np.ndarray
    joint_pos: np.ndarray
    facts: Facts = field(default_factory=Facts)


def clip_dtype(num_joints: int) -> np.dtype:
    """Type of a clip's frame: time s, root position m, root rotation wxyz, joint positions rad."""
    sizes = {name: () if name == "time" else (size or num_joints,) for name, size in FIELDS.items()}
    return np.dtype([(name, "<f8", shape) for name, shape in sizes.items()])


# Reading ---------------------------------------------------------------------------------------------------------------


def read_clip(path: Path, robot: str, joint_names: Sequence[str]) -> Motion:
    """Read a clip of a robot. Joints are reordered to the robot's order by their names, if the file has names.

    Args:
        path: the file.
        robot: the robot's name.
        joint_names: J names of its joints, in its order.

    Raises:
        ClipError: the file cannot be read, is not a clip, or belongs to another robot. Plausibility is not checked here; see
            `plausibility.check`.
    """
    frames, facts = _load(path)
    _check_table(str(path), frames)
    values = {name: np.array(frames[name], dtype=np.float64) for name in FIELDS}
    motion = Motion(**values, facts=facts)
    check_joints(str(path), motion, robot, joint_names)
    _check_numbers(str(path), motion)
    return in_order(motion, joint_names)


def read_facts(path: Path) -> Facts:
    """Read a clip's metadata.

    Raises:
        ClipError: the file cannot be read, or is not a clip.
    """
    return _load(path)[1]


def read_robot(path: Path) -> str:
    """Name of a clip's robot; empty if the file does not contain it. Raises as `read_facts` does."""
    return read_facts(path).robot


def in_order(motion: Motion, joint_names: Sequence[str]) -> Motion:
    """Reorder the motion's joints to `joint_names`. A motion without names is assumed to be in this order."""
    own = motion.facts.joint_names
    if not own or own == tuple(joint_names):
        return motion
    columns = [own.index(name) for name in joint_names]
    facts = replace(motion.facts, joint_names=tuple(joint_names))
    return replace(motion, joint_pos=np.ascontiguousarray(motion.joint_pos[:, columns]), facts=facts)


def check_motion(path: str, motion: Motion) -> None:
    """Check shapes, number of frames and values of a motion.

    Raises:
        ClipError: a field is invalid; names the field and, if possible, the frame.
    """
    frames = len(motion.time)
    if not 2 <= frames <= MAX_FRAMES:
        raise ClipError(f"{path} has {frames} frame{'s' * (frames != 1)}", f"A clip has 2 to {MAX_FRAMES}")
    for name, size in FIELDS.items():
        shape, wanted = getattr(motion, name).shape, (frames,) if name == "time" else (frames, size or "J")
        if len(shape) != len(wanted) or any(isinstance(n, int) and n != m for n, m in zip(wanted, shape, strict=True)):
            raise ClipError(f"{path}: {name} has the shape {shape}, not ({', '.join(map(str, wanted))})", FORMAT)
    _check_numbers(path, motion)


def _check_numbers(path: str, motion: Motion) -> None:
    """Check that numbers are finite, time increases and quaternions have unit length."""
    for name in FIELDS:
        values = getattr(motion, name)
        bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
        if len(bad):
            raise ClipError(f"{path}: {name} of frame {bad[0]} is not a finite number", "Mend or cut the frame")
    with np.errstate(over="ignore"):
        rises, length = np.diff(motion.time) > 0.0, np.linalg.norm(motion.root_quat_w, axis=1)
    bad = np.flatnonzero(~rises)
    if len(bad):
        raise ClipError(f"{path}: time does not rise at frame {bad[0] + 1}", "Frames must be in order, time in seconds")
    bad = np.flatnonzero(~(np.abs(length - 1.0) <= LENGTH_TOLERANCE))
    if len(bad):
        raise ClipError(f"{path}: root_quat_w of frame {bad[0]} is not of unit length", "Quaternions are wxyz")


def _load(path: Path) -> tuple[np.ndarray, Facts]:
    """Load frames and metadata. The frames are memory-mapped, because a damaged header may declare any size."""
    try:
        with path.open("rb") as file:
            kind = file_kind(file.read(SNIFFED), path.name)
        with warnings.catch_warnings(action="ignore"):  # numpy warns about headers written by Python 2
            frames = np.lib.format.open_memmap(path, mode="r")
        with path.open("rb") as file:
            file.seek(frames.offset + frames.nbytes)
            behind = file.read(MAX_FACTS_BYTES + 1)
    except (OSError, *UNREADABLE) as error:
        if isinstance(error, OSError):
            raise ClipError(f"{path} cannot be read ({error.strerror or error})", "Check the file") from error
        raise ClipError(f"{path} is {kind.words}", kind.remedy) from error
    return frames, _facts(str(path), behind)


def _facts(path: str, behind: bytes) -> Facts:
    """Parse the metadata after the frames: nothing, or an array of bytes that contain JSON."""
    if not behind:
        return Facts()
    try:
        file = io.BytesIO(behind)
        major, _ = np.lib.format.read_magic(file)
        shape, _, dtype = (np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0)(
            file
        )
        text = behind[file.tell() :]
        if dtype != np.uint8 or shape != (len(text),) or len(behind) > MAX_FACTS_BYTES:
            raise ValueError
        return parse_facts(json.loads(text.decode()))
    except UNREADABLE as error:
        raise ClipError(
            f"{path}: what follows its frames is damaged{_because(error)}", f"Save it again. {FORMAT}"
        ) from error


def _because(error: BaseException) -> str:
    return f" ({error})" if isinstance(error, _FactError) else ""


class _FactError(ValueError):
    """Metadata of the wrong type."""


def parse_facts(data: Any) -> Facts:
    """Parse metadata from JSON. Unknown keys are ignored, because they may come from a later version.

    Raises:
        ValueError: a value has the wrong type.
    """
    if not isinstance(data, Mapping):
        raise _FactError("it is not a JSON object")
    names, fps = data.get("joint_names") or (), data.get("fps")
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise _FactError("joint_names is not a list of names")
    if len(set(names)) < len(names):
        raise _FactError("joint_names holds a name twice")
    if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.0 < fps < math.inf):
        raise _FactError("fps is not a positive number")
    words = {key: data.get(key) or "" for key in ("robot", "source", "licence")}
    for key, value in words.items():
        if not isinstance(value, str):
            raise _FactError(f"{key} is not a string")
    return Facts(tuple(names), fps=None if fps is None else float(fps), **words)


def _check_table(path: str, frames: np.ndarray) -> None:
    """Check that an array is a table of frames."""
    if frames.dtype.names is None:
        what = f"an array of {frames.dtype} of shape {frames.shape}"
        raise ClipError(f"{path} is {what}, not a clip with the fields {', '.join(FIELDS)}", FORMAT)
    missing = [name for name in FIELDS if name not in frames.dtype.names]
    if missing:
        raise ClipError(f"{path} is not a clip: it lacks the fields {', '.join(missing)}", FORMAT)
    if frames.ndim != 1:
        raise ClipError(f"{path} is an array of shape {frames.shape}, not a row of frames", FORMAT)
    if len(frames) < 2:
        raise ClipError(f"{path} has {len(frames)} frame{'s' * (len(frames) != 1)}", "A clip needs at least two")
    if len(frames) > MAX_FRAMES:
        raise ClipError(f"{path} has {len(frames)} frames", f"Cut it into clips of at most {MAX_FRAMES}")
    for name, size in FIELDS.items():
        kind = frames.dtype[name]
        if kind.base.kind not in "fiu" or len(kind.shape) != (name != "time") or (size > 1 and kind.shape != (size,)):
            wanted = "a number" if name == "time" else f"{size or 'J'} numbers in a row"
            raise ClipError(f"{path}: {name} is {kind.base} of shape {kind.shape}, not {wanted} per frame", FORMAT)


def check_joints(path: str, motion: Motion, robot: str, joint_names: Sequence[str]) -> None:
    """Check that a clip belongs to this robot.

    Raises:
        ClipError: it does not; names the robots, or the missing and unknown joints.
    """
    facts, joints = motion.facts, motion.joint_pos.shape[1]
    if facts.robot and facts.robot != robot:
        raise ClipError(f"{path} is a clip of the robot {facts.robot}, not of {robot}", f"Retarget it to {robot}")
    if joints != len(joint_names):
        raise ClipError(f"{path} has {joints} joints, {robot} has {len(joint_names)}", f"Retarget it to {robot}")
    if facts.joint_names and len(facts.joint_names) != joints:
        raise ClipError(f"{path} has {joints} joints but {len(facts.joint_names)} joint_names", "Name each column once")
    unknown = [name for name in facts.joint_names if name not in joint_names]
    if unknown:
        missing = [name for name in joint_names if name not in facts.joint_names]
        raise ClipError(
            f"{path} has the joints {_some(unknown)}, which {robot} does not have, and lacks {_some(missing)}",
            f"Name its columns as {robot} names its joints, or retarget it",
        )


def _some(names: Sequence[str], most: int = 4) -> str:
    """The first few names, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


# Writing ---------------------------------------------------------------------------------------------------------------


def clip_path(path: Path) -> Path:
    """Path of a clip's file, with `.npy` added if there is no suffix.

    Raises:
        ClipError: the suffix is another one, with which the file would not be found as a clip.
    """
    if path.suffix not in ("", ".npy") or not path.name:
        raise ClipError(
            f"{path} is not the name of a clip", f"Clips are .npy files: {path.with_suffix('.npy').name or 'NAME.npy'}"
        )
    return path if path.suffix else path.with_name(f"{path.name}.npy")


def write_clip(file: BinaryIO, motion: Motion) -> None:
    """Write the frames, followed by the metadata, if any, as JSON in an array of bytes. There are no pickles.

    `np.load` returns only the frames, with and without metadata.
    """
    frames = np.zeros(len(motion.time), clip_dtype(motion.joint_pos.shape[1]))
    for name in FIELDS:
        frames[name] = getattr(motion, name)
    np.save(file, frames, allow_pickle=False)
    facts = {key: value for key, value in asdict(motion.facts).items() if value}
    if facts:
        np.save(file, np.frombuffer(json.dumps(facts, ensure_ascii=False).encode(), dtype=np.uint8), allow_pickle=False)
