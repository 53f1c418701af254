"""Several Isaac Lab simulations in one process.

Isaac Lab stores its only simulation in class attributes: the context, the physics managers, the current stage. Training and its
evaluations need several. Each has its own set of these attributes, which is put in place when that simulation is used.
"""

import copy
from typing import Any, ClassVar

from isaaclab.physics import PhysicsManager
from isaaclab.sim import SimulationContext
from isaaclab.sim.utils.stage import _context as current_stage
from isaaclab_newton.physics import NewtonManager
from isaaclab_newton.physics.mjwarp_manager import NewtonMJWarpManager

Values = dict[Any, dict[str, Any]]

HOLDERS = (SimulationContext, PhysicsManager, NewtonManager, NewtonMJWarpManager)
SHARED = {"_callback_id", "_reset_callbacks"}  # ids of callbacks are never reused


def _own(holder: type) -> dict[str, Any]:
    """A class's attributes that hold state, without methods and Python's own attributes."""
    return {
        name: value
        for name, value in vars(holder).items()
        if not isinstance(value, classmethod | staticmethod | property)
        and not name.startswith(("__", "_abc"))
        and name not in SHARED
    }


def _taken() -> Values:
    """The attributes that are in place now."""
    return {holder: _own(holder) for holder in HOLDERS} | {current_stage: dict(vars(current_stage))}


def _put(values: Values) -> None:
    """Put a set of attributes in place, and delete all others."""
    for holder, wanted in values.items():
        present = vars(holder) if holder is current_stage else _own(holder)
        for name in set(present) - set(wanted):
            delattr(holder, name)
        for name, value in wanted.items():
            setattr(holder, name, value)


EMPTY = _taken()
"""The initial attributes of Isaac Lab."""


def _empty() -> Values:
    """A set of attributes without a simulation, with new containers."""

    def fresh(value: Any) -> Any:
        return copy.copy(value) if isinstance(value, dict | list | set) else value

    return {holder: {name: fresh(x) for name, x in values.items()} for holder, values in EMPTY.items()}


class Place:
    """The attributes of one simulation; call `enter` before Isaac Lab is used for it."""

    _entered: ClassVar["Place | None"] = None

    def __init__(self) -> None:
        self._values = _empty()

    def enter(self) -> None:
        """Put this simulation in place of the previous one."""
        if Place._entered is self:
            return
        if Place._entered:
            Place._entered._values = _taken()
        _put(self._values)
        Place._entered = self

    def close(self) -> None:
        """End the simulation, if there is one, and remove its attributes."""
        self.enter()
        SimulationContext.clear_instance()
        _put(_empty())
        self._values = _empty()
        Place._entered = None
