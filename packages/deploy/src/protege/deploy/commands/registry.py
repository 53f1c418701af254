"""The modalities that this runtime has orders for. To add one, write a file, a line here, and its inputs in `Command`."""

from . import goal, path, steering
from .order_kind import OrderKind

VELOCITY_ORDER, POINT_ORDER, WAYPOINT_ORDER = steering.KIND, goal.KIND, path.KIND
"""The order kinds for sticks and sliders, for one point, and for several points."""
ArrivalCommand = goal.GoalCommand
"""The command at the end of a path: be at a point (2,) m by a deadline, s."""
TurnLimit = steering.TurnLimit
"""Limits how fast the direction of velocity orders turns."""
KINDS: dict[str, OrderKind] = {kind.name: kind for kind in (WAYPOINT_ORDER, POINT_ORDER, VELOCITY_ORDER)}
"""All order kinds, by name."""
SHORTCUTS = {name: kind.shortcut for name, kind in KINDS.items() if kind.shortcut is not None}
"""Orders that a single key gives, by name."""
