"""Checked arrays from files: each error is one line with file, frame, joint and remedy."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R

from .options import Options

UNIT_LENGTH_TOLERANCE = 0.1
"""Largest deviation of a quaternion's length from 1: some files contain averages of quaternions. They are normalised."""
FRAME_REMEDY = "Correct or cut the frame, or take another copy of the file"
MAX_FRAMES = 1_000_000

Order = Literal["wxyz", "xyzw"]


def numbers(value: Any, file: str, what: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """A value as a float64 array of the given shape; None stands for any size, and the first dimension counts frames.

    Raises:
        UserError: it has another shape, too few or too many frames, or contains something other than numbers.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise UserError(f"{file}: {what} is not an array of numbers", "Take another copy of the file") from error
    fits = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise UserError(f"{file}: {what} has the shape {array.shape}, not ({wanted})", "Is this the file's format?")
    if not 2 <= len(array) <= MAX_FRAMES:
        frames = f"{len(array)} frame{'s' * (len(array) != 1)}"
        raise UserError(f"{file} has {frames}: {what}", f"A motion has 2 to {MAX_FRAMES}")
    return array


def finite(array: np.ndarray, file: str, what: str, names: Sequence[str] = ()) -> np.ndarray:
    """The array (T, ...), whose numbers must all be finite.

    Args:
        names: of the second dimension, if it counts joints.

    Raises:
        UserError: it names frame and joint of the first number that is not finite.
    """
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        frame, *rest = bad[0]
        where = f"{what}{_of(names, rest)} of frame {frame}"
        raise UserError(f"{file}: {where} is not a finite number", FRAME_REMEDY)
    return array


def _of(names: Sequence[str], index: Sequence[int]) -> str:
    return f", {names[index[0]]}," if index and len(names) > index[0] else f", column {index[0]}," if index else ""


def quaternions(
    value: Any, file: str, what: str, order: Order, names: Sequence[str] = (), bodies: int | None = None
) -> np.ndarray:
    """Rotations (T, 4), or (T, B, 4) with `bodies` or `names`: wxyz, of unit length.

    Raises:
        UserError: it names frame and body of an invalid rotation.
    """
    count = len(names) or bodies
    array = finite(numbers(value, file, what, (None, count, 4) if count else (None, 4)), file, what, names)
    length = np.linalg.norm(array, axis=-1)
    bad = np.argwhere(np.abs(length - 1.0) > UNIT_LENGTH_TOLERANCE)
    if len(bad):
        frame, *rest = bad[0]
        where = f"{what}{_of(names, rest)} of frame {frame}"
        size = f"{length[tuple(bad[0])]:.3g}"
        raise UserError(f"{file}: {where} is not a rotation: a quaternion of length {size}, not 1", FRAME_REMEDY)
    array = array / length[..., None]
    return np.roll(array, 1, axis=-1) if order == "xyzw" else array


def from_rotation_vectors(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) rad -> (..., 4)."""
    return R.from_rotation_vector(torch.from_numpy(np.ascontiguousarray(vectors))).numpy()


def local_rotations(world: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Rotations (T, B, 4) in the world frame -> in the parents' frames; the root's stays."""
    q = torch.from_numpy(np.ascontiguousarray(world))
    local = R.multiply(R.conjugate(q[:, [max(p, 0) for p in parents]]), q)
    local[:, 0] = q[:, 0]
    return local.numpy()


def scalar(value: Any) -> float | None:
    """A number from a number, an array of one, or its bytes; None if it is not a number."""
    try:
        array = np.asarray(value, dtype=np.float64).reshape(-1)
    except (ValueError, TypeError):
        return None
    return float(array[0]) if array.size == 1 and np.isfinite(array[0]) else None


def rate(value: Any, file: str, options: Options, what: str = "fps") -> float:
    """Frames per second, from the user or the file.

    Raises:
        UserError: neither specifies it, or it is not a valid rate.
    """
    fps = options.fps if options.fps is not None else scalar(value)
    if fps is None or not 0.1 <= fps <= 10_000.0:
        found = "does not contain its frame rate" if value is None else f"has the {what} {str(value)[:40]}"
        raise UserError(f"{file} {found}", "Give its frames per second: --fps N")
    return fps


def times(count: int, fps: float) -> np.ndarray:
    """(T,) s of evenly spaced frames."""
    return np.arange(count) / fps


def text(value: Any) -> str:
    """A text from text, bytes, or an array of one; empty if it is not a text."""
    value = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    value = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
    return value if isinstance(value, str) else ""


def names_of(value: Any) -> tuple[str, ...]:
    """A list of names from a list, or an array of texts or bytes; empty if it is not one."""
    items = value.reshape(-1).tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(items, list | tuple):
        return ()
    found = tuple(text(item) for item in items)
    return found if all(found) and len(set(found)) == len(found) else ()
