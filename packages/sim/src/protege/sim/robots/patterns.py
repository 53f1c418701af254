"""Numbers by joint, as a robot's YAML file has them: a name may have `*` in it, and a later one wins."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from protege.core.errors import UserError

from .faults import Faults


def by_joint(key: str, names: Sequence[str], values: Mapping[str, float], faults: Faults) -> dict[str, float]:
    """The number of each joint that one of the patterns fits.

    Args:
        key: where the patterns are, for the message.
        names: of all joints.
        values: numbers by pattern.
        faults: takes the patterns that fit no joint.
    """
    found = {}
    for pattern, value in values.items():
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            faults.append(UserError(f"{key}: no joint is called {pattern!r}", did_you_mean(pattern, names)))
        found.update(dict.fromkeys(fitting, value))
    return found


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The nearest of the known names, as a question."""
    near = get_close_matches(name, known, 1, 0.0)
    return f"Did you mean {near[0]}?" if near else ""
