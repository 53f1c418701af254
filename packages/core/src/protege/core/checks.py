"""Rules that types cannot express, for the `check` methods of config dataclasses. Errors name key, value and remedy.

Each rule takes a dataclass, its key in the config and the names of some of its fields. If a field holds several numbers, each is
checked. None passes. A rule without an upper limit uses `MAX_NUMBER`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from math import isfinite
from typing import Any, get_args, get_origin, get_type_hints

from .errors import UserError, shown

MAX_NUMBER = 1e6
"""Upper limit of a weight, length, time or count without a tighter one. No sensible value exceeds it."""
SMALLEST_WEIGHT = 1e-6
"""Lower limit of a nonzero weight. As a share of the envs or a probability, it is still represented well in float32."""


def within(low: float, high: float, part: Any, key: str, *names: str) -> None:
    """Require that every number is in [low, high]."""
    for name, value in _numbers(part, key, names):
        if not value >= low:
            raise UserError(f"{name} is {value}", f"Take {low:g} or more")
        if not value <= high:
            raise UserError(f"{name} is {value}", f"Take {high:.16g} or less")


def at_least(low: float, part: Any, key: str, *names: str) -> None:
    """Require that every number is at least `low`."""
    within(low, MAX_NUMBER, part, key, *names)


def above_zero(part: Any, key: str, *names: str) -> None:
    """Require that every number is positive."""
    for name, value in _numbers(part, key, names):
        if not value > 0:
            raise UserError(f"{name} is {value}", "Take more than 0")
    within(1.0 / MAX_NUMBER, MAX_NUMBER, part, key, *names)


def weights(part: Any, key: str, *names: str) -> None:
    """Require that every number is 0 or at least `SMALLEST_WEIGHT`."""
    at_least(0, part, key, *names)
    for name, value in _numbers(part, key, names):
        if 0.0 < value < SMALLEST_WEIGHT:
            raise UserError(f"{name} is {value}", f"Take 0, or {SMALLEST_WEIGHT:g} or more")


def at_most_entries(count: int, part: Any, key: str, *names: str) -> None:
    """Require that every list or mapping has at most `count` entries."""
    for name in names:
        if len(getattr(part, name)) > count:
            raise UserError(f"{key}.{name} has {len(getattr(part, name))} entries", f"Take {count} or fewer")


def shares(part: Any, key: str, *names: str) -> None:
    """Require that every number is in [0, 1]."""
    for name, value in _numbers(part, key, names):
        if not 0 <= value <= 1:
            raise UserError(f"{name} is {value}", "Take 0 to 1")


def not_empty(part: Any, key: str, *names: str) -> None:
    """Require that every list has at least one entry."""
    for name in names:
        if not getattr(part, name):
            raise UserError(f"{key}.{name} is empty", f"Give one entry or more: {key}.{name}=[...]")


def rising(part: Any, key: str, *names: str) -> None:
    """Require that a range is in ascending order. The range is one field with two numbers, or two fields with one each."""
    ends = getattr(part, names[0]) if len(names) == 1 else [getattr(part, name) for name in names]
    if not ends[0] <= ends[1]:
        named = " and ".join(f"{key}.{name}" for name in names)
        verb, shown = ("is", list(ends)) if len(names) == 1 else ("are", f"{ends[0]} and {ends[1]}")
        raise UserError(f"{named} {verb} {shown}", "The first must not be larger than the second")


def finite(part: Any, key: str) -> None:
    """Require that every field has its declared type and that numbers are finite. OmegaConf accepts a list in a list of strings."""
    for name, hint in get_type_hints(type(part)).items():
        for full, value, kind in _items(getattr(part, name), hint, f"{key}.{name}"):
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise UserError(f"{full} is {shown(repr(value))}", f"Give a value of the type {kind.__name__}")
            if isinstance(value, float) and not isfinite(value):
                raise UserError(f"{full} is {value}", "Take a finite number")


def check(part: Any, key: str) -> None:
    """Call a config dataclass's `check` method, if it has one."""
    if hasattr(part, "check"):
        part.check(key)


def _items(value: Any, hint: Any, key: str) -> Iterator[tuple[str, Any, type]]:
    """The numbers, strings and booleans in a field, each with its key and type. Nested dataclasses check themselves."""
    kinds = [kind for kind in get_args(hint) if kind not in (..., type(None))]
    if isinstance(hint, type) and not kinds:
        if not is_dataclass(hint):
            yield key, value, hint
    elif get_origin(hint) is dict:
        for name, x in value.items():
            yield from _items(x, kinds[1], f"{key}.{name}")
    elif get_origin(hint) in (list, tuple):
        for i, x in enumerate(value):
            yield from _items(x, kinds[0], f"{key}[{i}]")
    elif value is not None:  # X | None
        yield from _items(value, kinds[0], key)


def _numbers(part: Any, key: str, names: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for name in names:
        value = getattr(part, name)
        if isinstance(value, Mapping):
            yield from ((f"{key}.{name}.{entry}", number) for entry, number in value.items())
        elif isinstance(value, list | tuple):
            yield from ((f"{key}.{name}[{i}]", number) for i, number in enumerate(value))
        elif value is not None:
            yield f"{key}.{name}", value
