"""The modalities that this runtime has orders for. To add one, write a file, a line here, and its inputs in `Command`."""

from . import goal, path, steering
from .order_kind import OrderKind

STEERING, GOAL, PATH = steering.KIND, goal.KIND, path.KIND
"""The orders of sticks and sliders, of one point, and of several points."""
ArrivalCommand = goal.GoalCommand
"""The command at the end of a path: be at a point (2,) m by a deadline, s."""
KINDS: dict[str, OrderKind] = {kind.name: kind for kind in (PATH, GOAL, STEERING)}
"""All order kinds, by name."""
SHORTCUTS = {name: kind.shortcut for name, kind in KINDS.items() if kind.shortcut is not None}
"""Orders that a single key gives, by name."""
