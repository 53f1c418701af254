"""Orders: commands as plain data, from a script, a datagram or the viewer, during a run.

An order names every mode that is commanded from now on: `{"steering": {"direction": 45, "speed": 1.0}}`. It may name several.
Directions are degrees to the left, points are m ahead and to the left, both in a frame: `robot` (its position and heading when the
order is taken), `start` (those when the run began) or `world`. A modality that only `policy.json` describes is ordered by the
model's inputs, in the world frame: `{"height": {"height_w": 0.8}}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from difflib import get_close_matches
from typing import Any

import numpy as np

from ..errors import DeployError
from ..geometry import Pose2D
from ..interface import Command, CommandSource
from ..policy.metadata import DTYPES, TensorSpec
from ..safety.ranges import UNLIMITED, Ranges
from .motion import Motion
from .order_kind import OrderPart
from .order_values import short
from .registry import KINDS


@dataclass(frozen=True)
class Raw:
    """The order to command a modality by the model's inputs themselves, in the world frame.

    Attributes:
        modality: its name.
        inputs: arrays by name.
    """

    modality: str
    inputs: Mapping[str, np.ndarray]

    def begin(
        self, frames: Mapping[str, Pose2D], path_times: Sequence[float], ranges: Ranges = UNLIMITED
    ) -> CommandSource:
        """The command source; its command is the same in every step."""
        command = Command(raw={self.modality: self.inputs})
        return lambda time, reading: command


Order = Mapping[str, OrderPart | Motion]
"""Parts by mode. An empty order is to stand."""
MODES: dict[str, type] = {**{name: kind.order for name, kind in KINDS.items()}, "motion": Motion}


def parse(data: Any, raw: Mapping[str, Sequence[TensorSpec]]) -> Order:
    """Parse an order from plain data, as JSON or YAML holds it.

    Args:
        data: a mapping of modes to their fields.
        raw: the inputs of each modality that is not in `MODES`.

    Raises:
        DeployError: an unknown mode or key, or an invalid value, by name.
    """
    known = {**MODES, **raw}
    if not isinstance(data, Mapping):
        raise DeployError(f"an order is a mapping of {', '.join(known)}, not {short(data)}")
    for mode, values in data.items():
        _check_known(mode, known, "mode")
        if not isinstance(values, Mapping):
            raise DeployError(f"{mode} is a mapping, not {short(values)}")
    return {
        mode: _raw(mode, values, raw[mode]) if mode in raw else _part(mode, values) for mode, values in data.items()
    }


def _raw(mode: str, values: Mapping[str, Any], inputs: Sequence[TensorSpec]) -> Raw:
    """Check that the values are finite numbers of the shapes in `policy.json`."""
    specs, arrays = {spec.name: spec for spec in inputs}, {}
    if missing := [name for name in specs if name not in values]:
        raise DeployError(f"{mode} needs {', '.join(missing)}")
    for name, value in values.items():
        spec = specs[_check_known(name, specs, f"key of {mode}")]
        try:
            array = np.asarray(value, np.float64)
        except (TypeError, ValueError, OverflowError):
            array = np.full(1, np.nan)
        if list(array.shape) != spec.shape or not np.isfinite(array).all():
            wanted = f"{spec.shape} finite numbers" if spec.shape else "a finite number"
            raise DeployError(f"{name} is {wanted}, not {short(value)}")
        arrays[name] = array.astype(DTYPES[spec.dtype])
    return Raw(mode, arrays)


def _part(mode: str, values: Mapping[str, Any]) -> OrderPart | Motion:
    known = {field.name: field.default is MISSING for field in fields(MODES[mode])}
    missing = [name for name, required in known.items() if required and name not in values]
    if missing:
        raise DeployError(f"{mode} needs {', '.join(missing)}")
    return MODES[mode](**{_check_known(key, known, f"key of {mode}"): value for key, value in values.items()})


def _check_known(name: Any, names: Mapping[str, Any], what: str) -> str:
    if isinstance(name, str) and name in names:
        return name
    near = get_close_matches(short(name), names, n=1)
    raise DeployError(
        f"unknown {what} {short(name)}", f"Did you mean {near[0]}?" if near else f"Known: {', '.join(names)}"
    )
