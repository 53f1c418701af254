"""Pickles written by hand, so that tests need no module that can run them: instructions by name, and what they take."""

import struct


def real(value: float) -> bytes:
    return b"G" + struct.pack(">d", value)


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def raw(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    """REDUCE: the named thing, called with these."""
    return name(module, attribute) + many(*arguments) + b"R"


def many(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def listed(*items: bytes) -> bytes:
    return b"](" + b"".join(items) + b"e"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def dtype(kind: str) -> bytes:
    order = b"\x8c\x01" + (b"|" if kind[0] in "?|O" or kind.endswith("1") else b"<")
    state = many(number(3), order, b"N", b"N", b"N", number(-1), number(-1), number(0))
    return call("numpy", "dtype", text(kind), b"\x89", b"\x88") + state + b"b"


def array(shape: tuple[int, ...], kind: str, data: bytes, *, module: str = "numpy.core.multiarray") -> bytes:
    """An array's instructions as numpy writes them; `data` are those of its bytes or of a list."""
    empty = call(module, "_reconstruct", name("numpy", "ndarray"), many(number(0)), raw(b"b"))
    return empty + many(number(1), many(*map(number, shape)), dtype(kind), b"\x89", data) + b"b"


def pickled(*instructions: bytes) -> bytes:
    return b"\x80\x02" + b"".join(instructions) + b"."
