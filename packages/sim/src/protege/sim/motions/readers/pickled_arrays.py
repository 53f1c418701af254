"""Names that a pickle of plain data may contain, and their replacements: arrays of numpy and joblib, dtypes, numbers, mappings."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from .limits import MAX_BYTES

DTYPE_PATTERN = re.compile(r"[<>|=]?(?:\?|[biufcUS]\d{0,8}|O8?)")
"""Numbers, booleans and texts; `O` for arrays of other objects, which are read as lists. No records."""
MAX_AXES = 8
INERT_CALLS = re.compile(r"protomotions\.[\w.]+\.StateConversion|torch\.(?:device|Size)")
"""Calls that are replaced by the text or tuple of their arguments."""


class BadPickleError(Exception):
    """A pickle with more than plain data, or of absurd size. The text follows the file's name in the message."""


@dataclass(frozen=True)
class Name:
    """A name from a pickle. It is never looked up."""

    module: str
    name: str

    @property
    def full(self) -> str:
        """The name with its module; old names of modules are replaced by current ones."""
        module = self.module.replace("numpy._core", "numpy.core").replace("__builtin__", "builtins")
        return f"{module}.{self.name}"

    def __str__(self) -> str:
        return self.full


class DType:
    """A numpy dtype under construction; `base` is its current value."""

    def __init__(self, text: Any) -> None:
        text = text.decode("ascii") if isinstance(text, bytes) else text
        if not isinstance(text, str) or not DTYPE_PATTERN.fullmatch(text):
            raise BadPickleError(f"holds an array of {str(text)[:40]!a}, not of numbers or texts")
        self.base = np.dtype(text)

    def build(self, state: tuple[Any, ...]) -> None:
        """Apply numpy's state of a dtype: version, byte order, and five values for records."""
        order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise BadPickleError("holds an array of records")
        if order in "<>":
            self.base = self.base.newbyteorder(order)

    def __str__(self) -> str:
        return str(self.base)


_NOTHING = object()


class Array:
    """A numpy array under construction: numpy creates an empty one first, and fills it when its state is read."""

    def __init__(self, value: Any = _NOTHING) -> None:
        self._value = value

    def build(self, state: tuple[Any, ...]) -> None:
        """Apply numpy's state of an array: version, shape, dtype, whether it is in Fortran order, and its bytes or objects."""
        shape, dtype, fortran, data = state[-4:]
        self._value = made(shape, _dtype(dtype), data, fortran=bool(fortran))

    def array(self) -> Any:
        """The array; or its contents, if they are not numbers or texts."""
        if self._value is _NOTHING:
            raise ValueError("an array without contents")
        return self._value


class JoblibArray:
    """An array of joblib: its bytes follow the instruction that describes it, in the middle of the pickle."""

    def __init__(self) -> None:
        self._value: Any = None

    def read(self, state: dict[str, Any], file: BinaryIO) -> None:
        """Read it from the current position of the pickle."""
        dtype, shape = _dtype(state["dtype"]), state["shape"]
        size = _count(shape) * dtype.itemsize
        if dtype.hasobject or size > MAX_BYTES:
            raise BadPickleError(
                "holds a joblib array of objects" if dtype.hasobject else "holds an array of more than 512 MB"
            )
        if state.get("numpy_array_alignment_bytes") is not None:
            file.read(file.read(1)[0])
        self._value = made(shape, dtype, file.read(size), fortran=state.get("order") == "F")

    def array(self) -> np.ndarray:
        """The array."""
        if self._value is None:
            raise ValueError("an array without contents")
        return self._value


def made(shape: Any, dtype: np.dtype, data: Any, *, fortran: bool) -> Any:
    """An array from its bytes, in this machine's byte order; for objects, the list of them, or the single object.

    Raises:
        BadPickleError: shape and bytes do not match: nothing is ever allocated by shape alone.
    """
    count = _count(shape)
    if dtype.hasobject:
        if not isinstance(data, list) or len(data) != count:
            raise BadPickleError("holds an array of objects that lacks some of them")
        return data if shape else data[0]
    raw = data.encode("latin-1") if isinstance(data, str) else data  # bytes written by Python 2
    if not isinstance(raw, bytes | bytearray) or len(raw) != count * dtype.itemsize or not dtype.itemsize:
        raise BadPickleError(f"holds an array of shape {str(shape)[:60]} with too few or too many bytes")
    array = np.frombuffer(raw, dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)


def _count(shape: Any) -> int:
    """Number of values in an array of this shape."""
    is_shape = isinstance(shape, tuple) and len(shape) <= MAX_AXES
    if not is_shape or not all(type(n) is int and 0 <= n <= MAX_BYTES for n in shape):
        raise BadPickleError(f"holds an array of shape {str(shape)[:60]}")
    return math.prod(shape)


def _dtype(value: Any) -> np.dtype:
    if not isinstance(value, DType):
        raise ValueError("an array without a dtype")
    return value.base


def weight(value: Any) -> int:
    """Approximate number of bytes that copying a value would take."""
    if isinstance(value, str | bytes | bytearray):
        return len(value)
    return 64 * len(value) if isinstance(value, list | tuple | dict) else 64


def _empty_array(kind: Any, *_: Any) -> Array:
    if not isinstance(kind, Name) or kind.full != "numpy.ndarray":
        raise BadPickleError(f"holds an array of the class {str(kind)[:60]!a}")
    return Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any) -> Any:
    return Array(made(shape, _dtype(dtype), bytes(data) if isinstance(data, bytearray) else data, fortran=order == "F"))


def _number(dtype: Any, data: Any) -> Any:
    return made((), _dtype(dtype), data, fortran=False).item()


def _encoded(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise BadPickleError("encodes something as no pickle of arrays does")
    return text.encode("latin-1")


def _listed(items: Any = ()) -> list[Any]:
    if not isinstance(items, list | tuple):
        raise ValueError("a set of no list")
    return list(items)


def _mapping(items: Any = ()) -> dict[Any, Any]:
    pairs = [(key, value) for key, value in _listed(items)]
    if not all(isinstance(key, str | int | float) for key, _ in pairs):
        raise BadPickleError("has a key that is no text or number")
    return dict(pairs)


CALLS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": _number,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": lambda text, *_: DType(text),
    "collections.OrderedDict": _mapping,
    "builtins.dict": _mapping,
    "builtins.set": _listed,
    "builtins.frozenset": _listed,
    "builtins.list": _listed,
    "builtins.tuple": lambda items=(): tuple(_listed(items)),
    "_codecs.encode": _encoded,
}
"""Allowed calls and their replacements. Only the name decides; none of these modules is imported."""


def new_object(name: Name, arguments: tuple[Any, ...]) -> Any:
    """An object of a class that is created without a call: only joblib's arrays, and mappings.

    Raises:
        BadPickleError: it is of another class.
    """
    if name.full == "joblib.numpy_pickle.NumpyArrayWrapper" and not arguments:
        return JoblibArray()
    if name.full == "collections.OrderedDict":
        return _mapping(*arguments)
    raise BadPickleError(f"asks for an object of {name.full[:80]!a}, which motions have no use for")
