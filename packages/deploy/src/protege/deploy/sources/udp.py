"""Orders from another process: JSON in datagrams. Whoever speaks first commands; their silence is noticed."""

import json
import threading
from typing import Any

from ..commander import Commander
from ..endpoint import Address, Endpoint
from ..errors import DeployError

MAX_BYTES = 8192
POLL = 0.1  # s


class UdpCommands:
    """Listens in a thread of its own, and tells a commander. Use it in a `with` block.

    A datagram is `{"sequence": 7, "order": {...}}`. The sequence rises. Without an order it is a sign of life: send some a second.
    Every one is answered: `{"sequence": 7}`, with `"error"` if the order was refused.

    Args:
        place: where to listen, host and port.
        commander: who takes the orders.

    Attributes:
        endpoint: counts what was thrown away.
    """

    def __init__(self, place: Address, commander: Commander) -> None:
        self.endpoint, self._commander = Endpoint(place, MAX_BYTES), commander
        self._last, self._ended = -1, threading.Event()
        self._thread = threading.Thread(target=self._listen, name="commands", daemon=True)

    def __enter__(self) -> "UdpCommands":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.endpoint.close()

    def _listen(self) -> None:
        while not self._ended.is_set():
            datagram = self.endpoint.receive(POLL)
            if datagram is not None:
                self._accept(*datagram)

    def _accept(self, data: bytes, sender: Address) -> None:
        """Obey a datagram, or throw it away and count why."""
        dropped, message = self.endpoint.dropped, _parse(data)
        if isinstance(message, str):
            dropped[message] += 1
            return
        sequence, refused = message["sequence"], _answer(message["sequence"], "another commander is locked in")
        if self.endpoint.is_stranger(sender, lambda: refused):
            return
        if sequence <= self._last:
            dropped["duplicate" if sequence == self._last else "old"] += 1
            return
        if self.endpoint.peer is None:
            self.endpoint.lock(sender)
        self._last = sequence
        self.endpoint.send(_answer(sequence, self._obey(message)))

    def _obey(self, message: dict[str, Any]) -> str:
        """Why an order is refused, empty if it is not. Even who says nonsense is alive."""
        self._commander.alive()
        if "order" not in message:
            return ""
        try:
            _no_paths(message["order"])
            self._commander.order(message["order"])
        except DeployError as error:
            self.endpoint.dropped["refused"] += 1
            return error.message
        return ""


def _parse(data: bytes) -> dict[str, Any] | str:
    """The message in a datagram, or why it is none."""
    if len(data) > MAX_BYTES:
        return "size"
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return "json"
    if not isinstance(message, dict) or set(message) - {"sequence", "order"}:
        return "json"
    sequence = message.get("sequence")
    if not isinstance(sequence, int) or isinstance(sequence, bool) or not 0 <= sequence < 2**53:
        return "sequence"
    return message


def _no_paths(order: Any) -> None:
    """Who sends datagrams does not choose files of this machine."""
    motion = order.get("motion") if isinstance(order, dict) else None
    clip = motion.get("clip") if isinstance(motion, dict) else None
    if isinstance(clip, str) and ("/" in clip or "\\" in clip):
        raise DeployError(
            f"the clip {clip[:40]!r} is a path", "Name a clip that is shipped, or lies where the run was started"
        )


def _answer(sequence: int, error: str) -> bytes:
    return json.dumps({"sequence": sequence} | ({"error": error} if error else {})).encode()
