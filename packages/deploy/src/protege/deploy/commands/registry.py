"""The modalities that this runtime has orders for; to add one, write a file and a line here, and its inputs in `Command`."""

from . import goal, path, steering
from .order_kind import OrderKind

STEERING, GOAL, PATH = steering.KIND, goal.KIND, path.KIND
"""What sticks and sliders order, what is ordered for a point, and what for several."""
ArrivalCommand = goal.GoalCommand
"""What is commanded at the end of a line: to be at a point (2,) m by a deadline, s."""
KINDS: dict[str, OrderKind] = {kind.name: kind for kind in (PATH, GOAL, STEERING)}
"""All of them, by name."""
SHORTCUTS = {name: kind.shortcut for name, kind in KINDS.items() if kind.shortcut is not None}
"""Orders at the touch of a key, by name."""
