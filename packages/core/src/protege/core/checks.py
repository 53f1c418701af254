"""Rules that types cannot say, for the `check` methods of config dataclasses; who breaks one is told key, value and remedy.

Each takes a dataclass, its key in the config and the names of some of its fields. A field that holds several numbers is checked
number by number; None is no value and passes.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .errors import UserError


def at_least(low: float, part: Any, key: str, *names: str) -> None:
    """Every number is `low` or more."""
    for name, value in _numbers(part, key, names):
        if not value >= low:
            raise UserError(f"{name} is {value}", f"Take {low:g} or more")


def above_zero(part: Any, key: str, *names: str) -> None:
    """Every number is positive."""
    for name, value in _numbers(part, key, names):
        if not value > 0:
            raise UserError(f"{name} is {value}", "Take more than 0")


def shares(part: Any, key: str, *names: str) -> None:
    """Every number is from 0 to 1."""
    for name, value in _numbers(part, key, names):
        if not 0 <= value <= 1:
            raise UserError(f"{name} is {value}", "Take 0 to 1")


def not_empty(part: Any, key: str, *names: str) -> None:
    """Every list has an entry."""
    for name in names:
        if not getattr(part, name):
            raise UserError(f"{key}.{name} is empty", f"Give one entry or more: {key}.{name}=[...]")


def rising(part: Any, key: str, *names: str) -> None:
    """The numbers of a range, or of fields that are its two ends, are in order."""
    ends = getattr(part, names[0]) if len(names) == 1 else [getattr(part, name) for name in names]
    if not ends[0] <= ends[1]:
        named = " and ".join(f"{key}.{name}" for name in names)
        verb, shown = ("is", list(ends)) if len(names) == 1 else ("are", f"{ends[0]} and {ends[1]}")
        raise UserError(f"{named} {verb} {shown}", "The first must not be larger than the second")


def check(part: Any, key: str) -> None:
    """Let a config dataclass check itself, if it has something to check."""
    if hasattr(part, "check"):
        part.check(key)


def _numbers(part: Any, key: str, names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for name in names:
        value = getattr(part, name)
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}.{entry}", number) for entry, number in value.items())
        elif isinstance(value, list | tuple):
            yield from ((f"{key}.{name}[{i}]", number) for i, number in enumerate(value))
        elif value is not None:
            yield f"{key}.{name}", value
