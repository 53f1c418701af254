"""Orders from the keyboard of a terminal."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ...errors import DeployError
from ..commander import Commander
from ..registry import SHORTCUTS
from .driver import DeviceThread, Driver, print_line

KEYS = {
    "w": "faster", "s": "slower", "a": "left", "d": "right", " ": "stand", "m": "motion", "q": "end",
    "\x1b[A": "faster", "\x1b[B": "slower", "\x1b[D": "left", "\x1b[C": "right",
    **{x.key: name for name, x in SHORTCUTS.items()},
}  # fmt: skip
_SHORT = " · ".join(f"{x.key} {name}" for name, x in SHORTCUTS.items())
KEY_HELP = f"w s faster, slower · a d left, right · space stand · {_SHORT} · m clip · q end (or the arrows)"
_KEY = re.compile(r"\x1b\[[A-D]|[^\x1b]")


@contextmanager
def keyboard(commander: Commander, clip: str | None = None) -> Iterator[Driver]:
    """In the block, keys give orders. Afterwards the terminal's settings are restored.

    Args:
        commander: receives the orders.
        clip: played by `m`.

    Raises:
        DeployError: standard input is no terminal.
    """
    try:
        import termios
        import tty

        fd = sys.stdin.fileno()
        before = termios.tcgetattr(fd)
    except (ImportError, OSError, ValueError, termios.error) as error:
        raise DeployError("the keyboard needs a terminal", "Run it in one, or take --commands udp:PORT") from error
    driver = Driver(commander, clip)

    def take(data: bytes) -> None:
        for key in _KEY.findall(data.decode(errors="replace")):
            action = driver.actions.get(KEYS.get(key, ""))
            print_line(KEY_HELP if action is None else action())

    tty.setcbreak(fd)
    print_line(KEY_HELP)
    try:
        with DeviceThread(fd, driver, take):
            yield driver
    finally:
        with suppress(termios.error):  # it may have hung up
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
        print_line("\n")
