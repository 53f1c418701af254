"""The robot's own remote control: buttons and sticks, 40 bytes in every state, in the layout that Unitree publishes."""

import math
import struct
from dataclasses import dataclass, field

from .messages import REMOTE_BYTES

BUTTONS = (
    "R1", "L1", "start", "select", "R2", "L2", "F1", "F2", "A", "B", "X", "Y", "up", "right", "down", "left",
)  # fmt: skip
"""From the lowest bit up."""
STOP_BUTTONS = frozenset({"L2", "B"})
"""Pressed together, they make the robot damp, as in Unitree's own programs."""
START_BUTTON = "start"
_BYTES = struct.Struct("<2xHfff4xf16x")  # keys, lx, rx, ry, L2 analogue, ly


@dataclass(frozen=True)
class Remote:
    """State of the remote control.

    Attributes:
        buttons: names of the pressed buttons.
        left, right: sticks, x to the right and y ahead, -1 to 1.
    """

    buttons: frozenset[str] = field(default_factory=frozenset)
    left: tuple[float, float] = (0.0, 0.0)
    right: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, data: bytes) -> "Remote":
        """Parse the 40 bytes of a state. A stick with a value that is not finite counts as centred."""
        keys, left_x, right_x, right_y, left_y = _BYTES.unpack(data)
        down = frozenset(name for bit, name in enumerate(BUTTONS) if keys >> bit & 1)
        return cls(down, (_stick(left_x), _stick(left_y)), (_stick(right_x), _stick(right_y)))

    def pack(self) -> bytes:
        """The 40 bytes of this state."""
        keys = sum(1 << bit for bit, name in enumerate(BUTTONS) if name in self.buttons)
        return _BYTES.pack(keys, self.left[0], *self.right, self.left[1])


def _stick(value: float) -> float:
    return min(1.0, max(-1.0, value)) if math.isfinite(value) else 0.0


assert _BYTES.size == REMOTE_BYTES
