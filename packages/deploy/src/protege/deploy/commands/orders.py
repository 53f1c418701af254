"""Orders: commands as plain data, as a script, a datagram or the viewer gives them while a run lasts.

An order names every mode that is on from now: `{"steering": {"direction": 45, "speed": 1.0}}`; several are a mix, and what it
does not name is off. Directions are degrees to the left, points m ahead and to the left, both counted from a frame: `robot`
(where it stands and faces as the order is taken), `start` (where it did when the run began) or `world`.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from typing import Any

from ..errors import DeployError
from .goal import Goal
from .motion import Motion
from .order_values import short
from .path import Path
from .steering import Steering

Part = Steering | Path | Goal | Motion
Order = Mapping[str, Part]
"""Parts by mode. An empty one stands."""
MODES: dict[str, type] = {"path": Path, "goal": Goal, "steering": Steering, "motion": Motion}


def parse(data: Any) -> Order:
    """An order of plain data, as JSON or YAML gives it.

    Raises:
        DeployError: an unknown mode or key, or an invalid value, by name.
    """
    if not isinstance(data, Mapping):
        raise DeployError(f"an order is a mapping of {', '.join(MODES)}, not {short(data)}")
    return {mode: _part(_known(mode, MODES, "mode"), values) for mode, values in data.items()}


def _part(mode: str, values: Any) -> Part:
    if not isinstance(values, Mapping):
        raise DeployError(f"{mode} is a mapping, not {short(values)}")
    known = {field.name: field.default is MISSING for field in fields(MODES[mode])}
    missing = [name for name, required in known.items() if required and name not in values]
    if missing:
        raise DeployError(f"{mode} needs {', '.join(missing)}")
    return MODES[mode](**{_known(key, known, f"key of {mode}"): value for key, value in values.items()})


def _known(name: Any, names: Mapping[str, Any], what: str) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(short(name), names, n=1)
    raise DeployError(
        f"unknown {what} {short(name)}", f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names)}"
    )
