"""Numbers by joint, as in a robot's YAML file: a name may contain `*`, and later entries override earlier ones."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from protege.core.errors import UserError

from .faults import Faults


def by_joint(key: str, names: Sequence[str], values: Mapping[str, float], faults: Faults) -> dict[str, float]:
    """The number of each joint that matches one of the patterns.

    Args:
        key: location of the patterns, for the message.
        names: of all joints.
        values: numbers by pattern.
        faults: receives the patterns that match no joint.
    """
    found = {}
    for pattern, value in values.items():
        fitting = [name for name in names if fnmatchcase(name, pattern)]
        if not fitting:
            faults.append(UserError(f"{key}: no joint is called {pattern!r}", did_you_mean(pattern, names)))
        found.update(dict.fromkeys(fitting, value))
    return found


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The most similar of the known names, as a question."""
    near = get_close_matches(name, known, 1, 0.0)
    return f"Did you mean {near[0]}?" if near else ""
