"""Orders from a gamepad, through Linux's joystick interface. No library is needed."""

import math
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import DeployError
from ..commander import Commander
from ..registry import SHORTCUTS
from .driver import DeviceThread, Driver, print_line

DEFAULT_DEVICE = "/dev/input/js0"
EVENT = struct.Struct("<IhBB")  # ms, value, type, number
BUTTON, AXIS, INITIAL = 1, 2, 0x80
LEFT_X, LEFT_Y = 0, 1
BUTTONS = {0: "stand", 3: "motion", 7: "end", **{x.button: name for name, x in SHORTCUTS.items()}}
"""A, Y, start; B and X are shortcuts."""
DEAD_ZONE = 0.15  # of the stick's range
FULL_DEFLECTION = 32767


class Stick:
    """Turns a gamepad's events into orders: the left stick gives direction and speed, the buttons are `BUTTONS`."""

    def __init__(self, driver: Driver) -> None:
        self._driver, self._axes, self._rest = driver, {LEFT_X: 0.0, LEFT_Y: 0.0}, b""

    def take(self, data: bytes) -> None:
        """Process events: one order for the stick's last position, and one for each button that was pressed."""
        data, moved = self._rest + data, False
        whole = len(data) - len(data) % EVENT.size
        self._rest = data[whole:]
        for _, value, kind, number in EVENT.iter_unpack(data[:whole]):
            if kind & ~INITIAL == AXIS and number in self._axes:
                self._axes[number] = value / FULL_DEFLECTION
                moved = moved or not kind & INITIAL
            elif kind == BUTTON and value and number in BUTTONS:
                action = self._driver.actions.get(BUTTONS[number])
                print_line("no clip: give --motion-file" if action is None else action())
        if moved:
            self._steer()

    def _steer(self) -> None:
        # y is negative when the stick is pushed forward; x is positive to the right.
        ahead, left = -self._axes[LEFT_Y], -self._axes[LEFT_X]
        way = min(1.0, math.hypot(ahead, left))
        speed = self._driver.speeds[1] * max(0.0, way - DEAD_ZONE) / (1.0 - DEAD_ZONE)
        direction = math.degrees(math.atan2(left, ahead)) if way > DEAD_ZONE else self._driver.direction
        print_line(self._driver.steer(speed, direction))


@contextmanager
def gamepad(commander: Commander, clip: str | None = None, device: str = DEFAULT_DEVICE) -> Iterator[Driver]:
    """In the block, a gamepad gives orders.

    Args:
        commander: receives the orders.
        clip: played by the button Y.
        device: of the joystick interface.

    Raises:
        DeployError: the device does not exist or may not be read, or is a file or a folder.
    """
    try:
        fd = os.open(device, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except PermissionError as error:
        raise DeployError(
            f"{device} may not be read", "Join the group that it belongs to, `input` as a rule"
        ) from error
    except OSError as error:
        raise DeployError(
            f"no gamepad at {device} ({error.strerror})",
            "Plug one in; Linux needs its module joydev; --commands gamepad:/dev/input/js1 names another",
        ) from error
    driver = Driver(commander, clip)
    try:
        if not (stat.S_ISCHR(mode := os.fstat(fd).st_mode) or stat.S_ISFIFO(mode)):
            raise DeployError(f"{device} is no gamepad", f"Name a device, such as {DEFAULT_DEVICE}")
        with DeviceThread(fd, driver, Stick(driver).take):
            yield driver
    finally:
        os.close(fd)
