"""Reads pickles of plain data, without the ability to run code.

A pickle is a program for a small stack machine. Python's own machine imports the names in the program and calls them. This one runs
the same program on data alone: a name stays a name, and the few calls that build an array, a dtype, a mapping or a tensor are
recognised by that name and replaced, with every size checked. Any other name is rejected. Nothing is imported.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pickletools import genops
from typing import Any

import numpy as np

from protege.core.errors import UserError, shown

from .limits import MAX_BYTES, MAX_DEPTH, MAX_INSTRUCTIONS, MAX_VALUES
from .pickled_arrays import CALLS, INERT_CALLS, Array, BadPickleError, DType, JoblibArray, Name, new_object, weight

REMEDY = "Take the file from a source that you trust, or save it as plain arrays: docs/clips.md"
CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
FIXED_VALUES: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # sets become lists, because their items need not be hashable
}
PLAIN_TYPES = str | int | float | complex | bytes | bytearray | None | np.ndarray
_MARK = object()


@dataclass(frozen=True)
class Storage:
    """A piece of a torch file's memory that a tensor refers to: its type of number, and its key."""

    kind: str
    key: str
    count: int


def unpickle(contents: bytes, file: str, tensors: Callable[[Storage], np.ndarray] | None = None) -> Any:
    """The contents of a pickle: dicts with texts or numbers as keys, lists, tuples, numbers, texts, bytes, and numpy arrays.

    Args:
        contents: the pickle.
        file: name of the file for messages.
        tensors: returns the numbers (count,) of a tensor's storage; None if there are no tensors.

    Raises:
        UserError: it is damaged, too large, or requests more than plain data. Nothing in it has been run.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about texts of damaged files
            return _plain(_Machine(contents, tensors).run(), [MAX_VALUES], 0)
    except BadPickleError as error:
        raise UserError(f"{file} {error}; nothing in it was run", REMEDY) from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError, OverflowError) as error:
        reason = shown(str(error), 80)
        raise UserError(f"{file} is a damaged or truncated pickle ({reason})", "Download or copy it again") from error


class _Machine:
    """The stack machine; `pickletools` decodes each instruction."""

    def __init__(self, contents: bytes, tensors: Callable[[Storage], np.ndarray] | None) -> None:
        self.file, self.tensors = io.BytesIO(contents), tensors
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.spent = 0

    def run(self) -> Any:
        """The object that the program leaves on the stack."""
        for step, (opcode, argument, _) in enumerate(genops(self.file)):
            if step > MAX_INSTRUCTIONS:
                raise BadPickleError(f"has more than {MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return self.stack.pop()
            self._do(opcode.name, argument)
        raise ValueError("no end")

    def _do(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in CONSTANTS:
            stack.append(argument)
        elif name in FIXED_VALUES:
            stack.append(FIXED_VALUES[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif name in ("APPEND", "APPENDS", "ADDITEMS"):
            items = [stack.pop()] if name == "APPEND" else self._to_mark()
            _as(list, stack[-1]).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._to_mark()
            _fill(_as(dict, stack[-1]), items)
        elif name in ("TUPLE", "LIST", "FROZENSET"):
            items = self._to_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "DICT":
            items = self._to_mark()
            stack.append(_fill({}, items))
        elif name == "GLOBAL":
            stack.append(Name(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            stack.append(Name(_as(str, stack.pop(-2)), _as(str, stack.pop())))
        elif name == "REDUCE":
            arguments = _as(tuple, stack.pop())
            stack.append(self._call(_as(Name, stack.pop()), arguments))
        elif name == "NEWOBJ":
            arguments = _as(tuple, stack.pop())
            stack.append(new_object(_as(Name, stack.pop()), arguments))
        elif name == "BUILD":
            state = stack.pop()
            self._build(stack[-1], state)
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name == "POP":
            stack.pop()
        elif name == "POP_MARK":
            self._to_mark()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in ("PROTO", "FRAME"):
            raise BadPickleError(f"uses the instruction {name}, which motions have no use for")

    def _to_mark(self) -> list[Any]:
        """The items above the last mark; they and the mark are removed."""
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1  # an IndexError where there is none
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _call(self, name: Name, arguments: tuple[Any, ...]) -> Any:
        if name.full == "torch._utils._rebuild_tensor_v2":
            return _tensor(_as(np.ndarray, arguments[0]), *arguments[1:4])
        if INERT_CALLS.fullmatch(name.full):
            return arguments[0] if len(arguments) == 1 else arguments
        if name.full not in CALLS:
            raise BadPickleError(f"asks Python to call {shown(name.full, 80)!a}, which motions have no use for")
        self._spend(arguments)
        return CALLS[name.full](*arguments)

    def _spend(self, parts: tuple[Any, ...]) -> None:
        """Count the bytes that a call may copy: a few bytes can request the same large object repeatedly."""
        self.spent += sum(map(weight, parts))
        if self.spent > 2 * MAX_BYTES:
            raise BadPickleError("asks for more than 1 GB of memory")

    def _build(self, target: Any, state: Any) -> None:
        if isinstance(target, JoblibArray):
            target.read(_as(dict, state), self.file)
        elif isinstance(target, Array | DType):
            self._spend(_as(tuple, state))
            target.build(state)
        else:
            raise BadPickleError("sets the state of an object, which motions have no use for")

    def _storage(self, identity: Any) -> np.ndarray:
        """The numbers for a tensor's persistent identity: ('storage', type, key, device, count)."""
        if self.tensors is None or not isinstance(identity, tuple) or len(identity) != 5 or identity[0] != "storage":
            raise BadPickleError("refers to an object outside itself")
        _, kind, key, _, count = identity
        return self.tensors(Storage(_as(Name, kind).full, _as(str, key), _as(int, count)))


def _as(kind: Any, value: Any) -> Any:
    """The value, which must be of this type."""
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where a {getattr(kind, '__name__', 'value')} belongs")
    return value


def _fill(target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int | float | bytes | type(None)):
            raise BadPickleError(f"has a {type(key).__name__} as a key")
        target[key] = value
    return target


def _tensor(storage: np.ndarray, offset: Any, shape: Any, stride: Any) -> np.ndarray:
    """A tensor's array (shape), a view of its storage (count,): `offset` and `stride` count numbers. An empty one is (0,)."""
    shape, stride = (tuple(_as(int, x) for x in _as(tuple, sizes)) for sizes in (shape, stride))
    if min((_as(int, offset), *shape, *stride)) < 0 or len(shape) != len(stride):
        raise BadPickleError("holds a tensor with a negative size")
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if 0 not in shape and last >= storage.size:
        raise BadPickleError("holds a tensor that is larger than its memory")
    if np.prod([float(n) for n in shape]) > max(storage.size, 1):
        raise BadPickleError("holds a tensor that repeats its memory")
    if 0 in shape:
        return np.zeros(0, storage.dtype)
    steps = tuple(step * storage.itemsize for step in stride)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _plain(value: Any, left: list[int], depth: int) -> Any:
    """The value with finished arrays; `left` counts the values that may still occur, shared ones each time."""
    left[0] -= 1
    if left[0] < 0:
        raise BadPickleError(f"unfolds to more than {MAX_VALUES} values")
    if depth > MAX_DEPTH:
        raise BadPickleError(f"is nested more than {MAX_DEPTH} deep, or holds itself")
    if isinstance(value, dict):
        return {key: _plain(one, left, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_plain(one, left, depth + 1) for one in value])
    if isinstance(value, Array | JoblibArray):
        whole = value.array()
        return whole if isinstance(whole, np.ndarray) else _plain(whole, left, depth + 1)
    if isinstance(value, Name | DType):
        return str(value)
    return _as(PLAIN_TYPES, value)
