"""Orders at given times, from a file."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from ...errors import DeployError
from ...interface import Command, RobotReading
from ..commander import Commander, Prepared
from ..measured import Note

MAX_BYTES = 1_000_000


class Script:
    """A `CommandSource` that gives orders at their times. All of them are checked and prepared at the start.

    The file is YAML or JSON: a list of orders, each with `at`, its time in s since the run's start. The times must rise.

    Args:
        path: the file.
        commander: receives the orders.

    Raises:
        DeployError: naming the file, the entry and what is wrong.
    """

    def __init__(self, path: str | Path, commander: Commander) -> None:
        self.commander = commander
        self._entries = [_entry(path, index, item, commander) for index, item in enumerate(_items(Path(path)))]
        times = [at for at, _ in self._entries]
        if times != sorted(set(times)):
            raise DeployError(f"{path}: the times of the orders do not rise", "Put the entries in order of `at`")
        self._done, self._skips = 0, False

    def resume(self) -> None:
        """After a fall: stand until the next order. Those that were due in the meantime are left out."""
        self._skips = True
        self.commander.resume()

    def __call__(self, time: float, reading: RobotReading) -> Command:
        # A tolerance of half a microsecond: `at: 0.1` is the third step at 30 Hz, whose time is 3 * (1 / 30).
        while self._done < len(self._entries) and self._entries[self._done][0] <= time + 5e-7:
            if not self._skips:
                self.commander.take(self._entries[self._done][1])
            self._done += 1
        self._skips = False
        return self.commander(time, reading)

    @property
    def duration(self) -> float:
        """When the last order is due, s."""
        return self._entries[-1][0]

    @property
    def notes(self) -> Collection[Note]:
        return self.commander.notes

    @property
    def silence(self) -> float:
        """A script is never silent, not even while the robot starts or lies and no command is asked for."""
        return 0.0


def _items(path: Path) -> list[Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise DeployError(f"{path} is larger than {MAX_BYTES} bytes", "Is it a script?")
        data = yaml.safe_load(text)
    except OSError as error:
        raise DeployError(f"cannot read {path} ({error.strerror})", "Give a YAML or JSON file") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DeployError(f"{path} is neither YAML nor JSON ({error})", "See docs/realtime.md") from error
    if not isinstance(data, list) or not data:
        raise DeployError(f"{path} is not a list of orders", 'For example [{"at": 0, "motion": {"clip": "..."}}]')
    return data


def _entry(path: str | Path, index: int, item: Any, commander: Commander) -> tuple[float, Prepared]:
    at = item.get("at") if isinstance(item, dict) else None
    if not isinstance(at, int | float) or isinstance(at, bool) or not 0.0 <= at <= 1e9:
        raise DeployError(f"{path}: entry {index} has no time", "Give `at`, s since the start")
    try:
        return float(at), commander.prepare({mode: part for mode, part in item.items() if mode != "at"})
    except DeployError as error:
        raise DeployError(f"{path}: entry {index}: {error.message}") from error
