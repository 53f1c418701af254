"""Checks of the values of orders, which come from files and datagrams and are not trusted."""

from collections.abc import Sequence
from typing import Any

from ..errors import DeployError

FRAMES = ("robot", "start", "world")
"""The robot's position and heading when the order is taken, those when the run began, and the world frame."""
MAX_SPEED = 10.0  # m/s
MAX_POINTS = 1000
MAX_COORDINATE = 1e5  # m


def check_numbers(order: Any, **bounds: tuple[float, float]) -> None:
    """Check that fields of an order are finite numbers within bounds, both included. None is allowed.

    Raises:
        DeployError: naming the field.
    """
    for name, (low, high) in bounds.items():
        value = getattr(order, name)
        if value is not None and not _is_number(value, low, high):
            raise DeployError(f"{name} is a number from {low:g} to {high:g}, not {short(value)}")


def check_frame(name: Any) -> None:
    """Check the name of a frame.

    Raises:
        DeployError: it is none of `FRAMES`.
    """
    if name not in FRAMES:
        raise DeployError(f"unknown frame {short(name)}", f"Known: {', '.join(FRAMES)}")


def as_points(values: Any) -> tuple[tuple[float, float], ...]:
    """Points (x, y) m, from lists.

    Raises:
        DeployError: it is not a list of pairs of numbers, or is too long.
    """
    if not _is_list(values) or len(values) > MAX_POINTS:
        raise DeployError(f"points are a list of at most {MAX_POINTS} pairs (x, y), not {short(values)}")
    for point in values:
        if (
            not _is_list(point)
            or len(point) != 2
            or not all(_is_number(value, -MAX_COORDINATE, MAX_COORDINATE) for value in point)
        ):
            raise DeployError(f"a point is a pair (x, y) of numbers up to {MAX_COORDINATE:g} m, not {short(point)}")
    return tuple((float(x), float(y)) for x, y in values)


def short(value: Any) -> str:
    """A value in at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_number(value: Any, low: float, high: float) -> bool:
    """Whether it is a number within bounds. NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
