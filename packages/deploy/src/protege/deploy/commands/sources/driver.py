"""The actions of keys and buttons, for every device."""

import math
import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import click

from ...errors import DeployError
from ..commander import Commander
from ..motion import Motion
from ..orders import Order
from ..registry import SHORTCUTS, VELOCITY_ORDER

SPEED_STEP = 0.25  # m/s
TURN_STEP = 15.0  # degrees
POLL_SECONDS = 0.1  # between two calls of `Commander.keep_alive`


class Driver:
    """Steers step by step, or gives one of `SHORTCUTS` or a clip. Directions are counted from where the robot faced at the start.

    Args:
        commander: receives the orders.
        clip: for the action `motion`.

    Attributes:
        speed: m/s; negative is backwards.
        direction: degrees to the left.
        speeds: least and largest speed that the policy was trained on, m/s.
        actions: functions by name; each returns a line that says what it did.
    """

    def __init__(self, commander: Commander, clip: str | None = None) -> None:
        self._commander, self.speed, self.direction, self.speeds = commander, 0.0, 0.0, commander.speeds
        self.actions: dict[str, Callable[[], str]] = {
            "faster": lambda: self.steer(self.speed + SPEED_STEP, self.direction),
            "slower": lambda: self.steer(self.speed - SPEED_STEP, self.direction),
            "left": lambda: self.steer(self.speed, self.direction + TURN_STEP),
            "right": lambda: self.steer(self.speed, self.direction - TURN_STEP),
            "stand": lambda: self.steer(0.0, self.direction),
            **{name: partial(self._give, {name: x.order}, x.words) for name, x in SHORTCUTS.items()},
            "end": self._end,
        }
        if clip is not None:
            self.actions["motion"] = partial(self._give, {"motion": Motion(clip)}, f"motion {clip}")

    def steer(self, speed: float, direction: float) -> str:
        """Go at a speed, m/s, in a direction, degrees to the left. The speed is clamped to the training's."""
        self.speed = round(min(max(speed, self.speeds[0]), self.speeds[1]), 6)
        self.direction = math.remainder(direction, 360.0)
        order = {VELOCITY_ORDER.name: VELOCITY_ORDER.order(self.direction, self.speed, frame="start")}
        return self._give(order, f"{VELOCITY_ORDER.name} {self.speed:.2f} m/s, {self.direction:+.0f}°")

    def keep_alive(self) -> None:
        """Tell the commander that the device is still connected."""
        self._commander.keep_alive()

    def _give(self, order: Order, words: str) -> str:
        try:
            self._commander.order(order)
        except DeployError as error:
            return error.message
        return words

    def _end(self) -> str:
        self._commander.end()
        return "end"


class DeviceThread:
    """Reads a device in its own thread and calls `keep_alive` at every poll. Use it in a `with` block.

    The thread ends when the terminal is closed or the gamepad is unplugged. The commander then becomes silent.

    Args:
        fd: to read from.
        driver: kept alive.
        take: called with the bytes that were read.
    """

    def __init__(self, fd: int, driver: Driver, take: Callable[[bytes], None]) -> None:
        self._fd, self._driver, self._take, self._ended = fd, driver, take, threading.Event()
        self._thread = threading.Thread(target=self._read, name="device", daemon=True)

    def __enter__(self) -> "DeviceThread":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        self._driver.keep_alive()  # from now on, so that a device that ends at once is noticed too
        while not self._ended.is_set():
            ready, _, _ = select.select([self._fd], [], [], POLL_SECONDS)
            try:
                data = os.read(self._fd, 4096) if ready else None
            except OSError:
                return
            if data == b"":
                return
            self._driver.keep_alive()
            if data:
                self._take(data)


def print_line(line: str) -> None:
    """Print a line on the terminal, over the previous one. A terminal that is gone does not end the control."""
    with suppress(OSError):
        click.echo(f"\r\x1b[K{line}", nl=False, err=True)
