"""Tables of a robot's motion, as text or one numpy array: root position, quaternion, joint angles per row.

Unitree's LAFAN1, Kimodo and others write them as text.

No column specifies the order of the quaternion: Unitree writes xyzw, Kimodo and MuJoCo wxyz.
"""

import io
import re

import numpy as np

from protege.core.errors import UserError

from ..source import JointMotion
from .arrays import UNIT_LENGTH_TOLERANCE, Order, finite, numbers, quaternions, rate, times
from .document import Document
from .options import Options
from .orientation import check_upright, choose_order

ROOT_COLUMNS = 7
"""Columns before the joints."""
DEFAULT_FPS = 30.0
"""Frames per second of Unitree's and Kimodo's tables, which do not contain it."""
TIME_NAMES, INDEX_NAMES = ("time", "timestamp", "t"), ("frame", "index", "frame_index", "", "unnamed: 0")
"""Names of a first column before the root's; time is in seconds."""
NUMBER_PATTERN = re.compile(r"\s*[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?\s*|\s*nan\s*", re.IGNORECASE)


def recognises(document: Document) -> bool:
    """Text whose first lines are numbers in columns; the very first line may be names. Or an array of rows with a quaternion."""
    if document.container == "npy":
        return _has_quaternions(document.data)
    if document.container != "text" or document.data.lstrip()[:1] in ("{", "["):
        return False
    lines = _lines(document.data[:100_000])[:2]
    last = lines[-1].split(",") if lines else []
    return len(last) > ROOT_COLUMNS and sum(bool(NUMBER_PATTERN.fullmatch(cell)) for cell in last) >= ROOT_COLUMNS


def read(document: Document, options: Options) -> list[JointMotion]:
    """The one motion of a table."""
    file = document.file
    head, table, time = _table(document.data, file)
    order, reason = _order(head, table[:, 3:ROOT_COLUMNS], file, options)
    quat = quaternions(table[:, 3:ROOT_COLUMNS], file, "root rotation", order)
    check_upright(quat, file, options, None if reason else order)
    remarks = [reason] if reason else []
    if time is None and options.fps is None:
        remarks.append(
            f"the table does not say its rate: taken as {DEFAULT_FPS:g} frames a second, --fps says otherwise"
        )
    fps = rate(DEFAULT_FPS if time is None else 1.0 / np.median(np.diff(time)), file, options, "time")
    time = times(len(table), fps) if time is None or options.fps is not None else time
    return [
        JointMotion(document.name, time, table[:, :3], quat, fps, "csv", file,
                    joint_pos=table[:, ROOT_COLUMNS:], joint_names=_joint_names(head, table.shape[1]), remarks=tuple(remarks))
    ]  # fmt: skip


def _has_quaternions(array: np.ndarray) -> bool:
    """Whether an array has rows, wide enough for a robot, whose quaternions have unit length."""
    if array.ndim != 2 or not len(array) or array.shape[1] <= ROOT_COLUMNS or array.dtype.kind != "f":
        return False
    return min(_length_error(array[:100], column) for column in (3, 4)) < UNIT_LENGTH_TOLERANCE


def _length_error(table: np.ndarray, column: int) -> float:
    """Largest difference from unit length of the quaternions that begin in a column."""
    return float(abs(np.linalg.norm(table[:, column : column + 4].astype(float), axis=1) - 1.0).max(initial=0.0))


def _table(data: str | np.ndarray, file: str) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Names of the columns, if the first line has them; the numbers (T, 7 + J); and time stamps (T,) s from 0, if it has them."""
    head, table = _parsed(data, file) if isinstance(data, str) else (list[str](), data)
    time = None
    begins = head[0].lower() if head else _first_column(table)
    if begins in (*TIME_NAMES, *INDEX_NAMES):
        time = _time(table[:, 0], file) if begins in TIME_NAMES else None
        head, table = head[1:], table[:, 1:]
    if all(NUMBER_PATTERN.fullmatch(cell) for cell in head):
        head = []  # numbers of the columns
    if table.shape[1] <= ROOT_COLUMNS:
        raise UserError(f"{file} has {table.shape[1]} columns", "A robot's table has 7 of the root, and one a joint")
    return head, finite(numbers(table, file, "the table", (None, None)), file, "the table", head), time


def _parsed(text: str, file: str) -> tuple[list[str], np.ndarray]:
    """Names of the columns, if the first line has them, and the numbers."""
    lines = _lines(text)
    first = [cell.strip() for cell in lines[0].split(",")]
    has_head = not all(NUMBER_PATTERN.fullmatch(cell) for cell in first)
    try:
        table = np.loadtxt(io.StringIO("\n".join(lines[has_head:])), delimiter=",", ndmin=2)
    except ValueError as error:
        raise UserError(
            f"{file}: {str(error).split(';')[0][:120]}", "Each row has the same numbers; is it cut short?"
        ) from error
    return first if has_head else [], table


def _lines(text: str) -> list[str]:
    """The rows with commas between cells, in front of them the names of the columns if there are any, even in a comment.

    Writers separate cells by commas, semicolons, tabs or blanks.
    """
    lines = [line.strip().rstrip(",; \t").replace('"', "") for line in text.splitlines()]
    lines = [
        ",".join(map(str.strip, line.split(next((s for s in ",;\t" if s in line), None)))) for line in lines if line
    ]
    rows = [line for line in lines if not line.startswith("#")]
    comments = [line.lstrip("#, ") for line in lines if line.startswith("#")]
    return [line for line in comments if rows and line.count(",") == rows[0].count(",")][-1:] + rows


def _first_column(table: np.ndarray) -> str:
    """What precedes the root in a table without names: `index` or `time` if the quaternions are one column later; or `x`."""
    # An upright robot of about 1 m has nearly a unit length in the wrong columns too.
    if table.shape[1] <= ROOT_COLUMNS + 1 or not _length_error(table, 4) < min(
        UNIT_LENGTH_TOLERANCE, 0.1 * _length_error(table, 3)
    ):
        return "x"
    return INDEX_NAMES[1] if (np.diff(table[:, 0]) == 1.0).all() else TIME_NAMES[0]


def _time(stamps: np.ndarray, file: str) -> np.ndarray:
    """Time stamps (T,) s from 0.

    Raises:
        UserError: they do not increase.
    """
    bad = np.flatnonzero(~(np.diff(stamps) > 0.0))
    if len(bad):
        raise UserError(
            f"{file}: time does not rise at frame {bad[0] + 1}", "Sort its rows, and cut those that are there twice"
        )
    return stamps - stamps[0]


def _order(head: list[str], raw: np.ndarray, file: str, options: Options) -> tuple[Order, str]:
    """The quaternion's order, and a reason if it had to be guessed."""
    letters = "".join(name[-1:].lower() for name in head[3:ROOT_COLUMNS])
    stated = options.quat or (letters if letters in ("wxyz", "xyzw") else None)
    if stated == "wxyz" or stated == "xyzw":
        return stated, ""
    quaternions(raw, file, "root rotation", "wxyz")  # checks that they are quaternions
    return choose_order(raw, file)


def _joint_names(head: list[str], columns: int) -> tuple[str, ...]:
    """Names of the joints, if the table has them, without the suffix that some writers add."""
    if len(head) != columns:
        return ()
    return tuple(name.removesuffix("_dof").removesuffix("_pos") for name in head[ROOT_COLUMNS:])
