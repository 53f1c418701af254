"""Shared parts of the fuzzers: unexpected values, and a time limit."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from types import FrameType
from typing import Any

from protege.core.errors import UserError

DEEP: list[Any] = []
for _ in range(60):
    DEEP = [DEEP]

NUMBERS = [0, -1, 1, 2, 3.5, -0.0, 1e-300, 1e9, 1e300, -1e300, nan, inf, -inf, 2**31, 2**63, 2**64, -(10**30), 10**400]
TEXTS = [
    "",
    " ",
    "x",
    "..",
    "../y",
    "${x}",
    "${oc.env:HOME}",
    "???",
    "[",
    "{",
    "é",
    "名前",
    "\x00",
    "a\nb",
    "\ud800",
    "[red]",
]
TEXTS += [
    ":smile:",
    "a" * 5000,
    "1e999",
    "nan",
    "inf",
    "0x10",
    "-",
    "True",
    "null",
    "../../etc/passwd",
    "%s%n",
    "-" * 70,
]
NESTED = [
    [],
    {},
    [[]],
    [None],
    [1],
    [0.5, 1],
    [1, 0.5],
    [1e9, 1e9],
    [-1, -1],
    [1e-9, 1e-9],
    ["a"],
    ["é", "["],
    [{}],
    {"a": 1},
]
NESTED += [
    {"": 1},
    {"a.b": 1},
    {"${x}": 1},
    {"é": nan},
    {"a": {"b": [1]}},
    DEEP,
    [0] * 5000,
    [True, False],
    {"track": 0},
]
VALUES: list[Any] = [None, True, False, *NUMBERS, *TEXTS, *NESTED]
FOREIGN: list[Any] = [b"x", (1, 2), {1, 2}, {1: 2}, 1j, object, range(3)]
"""Values that cannot come from YAML, but from a program or a pickle."""

YAML = [
    "",
    "~",
    "true",
    "-1",
    "1e999",
    ".inf",
    "-.nan",
    "{",
    "[1",
    "*a",
    "&a [*a]",
    "!!python/name:os.system x",
    "'",
    '"',
    "- a",
]
YAML += [
    "a: b",
    "9" * 5000,
    "[" * 500,
    "[[1]]",
    "{a: {b: c}}",
    "{1: 2}",
    "# x",
    "1_000",
    "12:30:45",
    "!!binary x",
    "=",
    "%",
    "@",
]
YAML += [
    "2024-99-99",
    "<<",
    "|",
    ">",
    "? a",
    "[a, b",
    "{a: 1, a: 2}",
    "a\nb",
    "--- 1\n--- 2",
    "[1, 2, 3]",
    "0.5",
    "1e-12",
    "1e12",
]


def in_one_line(error: UserError) -> None:
    """Check that a message is one readable line."""
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError if the context takes longer."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, old)
