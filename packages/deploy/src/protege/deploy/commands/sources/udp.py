"""Orders from another process: JSON in datagrams. The first sender is the commander; its silence is detected."""

import secrets
import threading
import time
from typing import Any

from ...errors import DeployError
from ...network.endpoint import Address, Endpoint, out_of_order
from ..commander import Commander
from .datagrams import MAX_BYTES, pack, parse

POLL_SECONDS = 0.1  # s
POLL_PAUSE = 0.005  # s between two reads of the sockets, which bounds the cost of a flood
NEW_SESSION = "name this session in each datagram"
SEQUENCE_MODULUS = 2**54  # twice as many as `datagrams.parse` accepts: sequence numbers do not wrap around


class UdpCommands:
    """Listens in its own thread and passes orders to a commander. Use it in a `with` block.

    A datagram is `{"sequence": 7, "order": {...}}`. The sequence rises. Without an order it only keeps the command alive: send a
    few per second. Each datagram is answered by `{"sequence": 7}`, with `"error"` if the order was refused. `"stop": true` is
    always obeyed, whatever its sequence, and without a key from any sender on this machine. The robot then stands until
    `"stop": false`.

    With a key, datagrams are signed and contain the run's `"session"`, which the first answer contains. Recordings of other runs
    are therefore refused.

    Args:
        place: host and port to listen on.
        commander: receives the orders.
        key: shared with the sender; without one the sender must be on this machine.

    Attributes:
        endpoint: counts discarded datagrams.
        stopped: whether a stop is in force.
    """

    def __init__(self, place: Address, commander: Commander, key: bytes | None = None) -> None:
        self.endpoint, self._commander, self._key = Endpoint(place, MAX_BYTES, keyed=key is not None), commander, key
        commander.dropped = self.endpoint.dropped
        self.stopped = False
        self._session, self._last = secrets.token_hex(8), -1
        self._ended = threading.Event()
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
            self.endpoint.wait(POLL_SECONDS)
            for datagram in self.endpoint.take():
                self._accept(*datagram)
            time.sleep(POLL_PAUSE)

    def _accept(self, data: bytes, sender: Address) -> None:
        """Obey a datagram, or discard it and count the reason."""
        dropped, message = self.endpoint.dropped, parse(data, self._key)
        if isinstance(message, str):
            dropped[message] += 1
            return
        sequence = message["sequence"]
        if message.get("stop"):
            self._stop()
            self.endpoint.send(self._answer(sequence, ""), sender)
            return
        if self._key is not None and message.get("session") != self._session:
            dropped["session"] += 1
            self.endpoint.send(self._answer(sequence, NEW_SESSION), sender)
            return
        if self.endpoint.is_stranger(sender, lambda: self._answer(sequence, "another commander is locked in")):
            return
        if self._key is not None and self.endpoint.peer is None and self._last >= 0:
            self._session, self._last = secrets.token_hex(8), -1  # another commander: the first one's session has ended
            self.endpoint.send(self._answer(sequence, NEW_SESSION), sender)
            return
        reason = self._out_of_order(sequence)
        if reason:
            dropped[reason] += 1
            return
        self._last = sequence
        self.endpoint.accept(sender)
        self.endpoint.send(self._answer(sequence, self._obey(message)))

    def _out_of_order(self, sequence: int) -> str:
        """Why a sequence is not the next one; empty if it is. Without a key a new commander may begin at any number."""
        silent = self.endpoint.silent
        if self._last < 0 or (silent and self._key is None):
            return ""
        return out_of_order(sequence, self._last, SEQUENCE_MODULUS, silent=silent)

    def _stop(self) -> None:
        """Stand. A policy that takes no order to stand ends its run, which leaves the robot damping."""
        self.stopped = True
        try:
            self._commander.order({})
        except DeployError:
            self._commander.end()

    def _obey(self, message: dict[str, Any]) -> str:
        """Why an order is refused; empty if it is not. Even an invalid order keeps the command alive."""
        self._commander.keep_alive()
        if message.get("stop") is False:
            self.stopped = False
        if "order" not in message:
            return ""
        try:
            if self.stopped:
                raise DeployError("the robot was stopped", 'Send "stop": false first')
            _check_clip_name(message["order"])
            self._commander.order(message["order"])
        except DeployError as error:
            self.endpoint.dropped["refused"] += 1
            return error.message
        return ""

    def _answer(self, sequence: int, error: str) -> bytes:
        session = {} if self._key is None else {"session": self._session}
        return pack({"sequence": sequence} | session | ({"error": error} if error else {}), self._key)


def _check_clip_name(order: Any) -> None:
    """Refuse clips that are paths: a sender must not choose files of this machine."""
    motion = order.get("motion") if isinstance(order, dict) else None
    clip = motion.get("clip") if isinstance(motion, dict) else None
    if isinstance(clip, str) and ("/" in clip or "\\" in clip):
        raise DeployError(
            f"the clip {clip[:40]!r} is a path", "Name a clip that is shipped, or lies where the run was started"
        )
