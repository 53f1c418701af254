"""A UDP socket that one peer talks to: the first that says something sensible. What cannot be had is one line."""

import contextlib
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable

from .errors import DeployError

logger = logging.getLogger("protege.deploy")

Address = tuple[str, int]
REFUSALS_APART = 1.0  # s: strangers are answered no more often


def parse_place(text: str, what: str) -> Address:
    """`PORT` or `HOST:PORT`; the host is this machine's loopback unless it is said.

    Raises:
        DeployError: neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise DeployError(f"{what}: {text!r} is no place", "Give PORT or HOST:PORT, for instance udp:47800")
    return host or "127.0.0.1", int(port)


class Endpoint:
    """A socket that never blocks unless it is asked to, and that counts what it throws away.

    Args:
        place: host and port to bind; port 0 takes a free one.
        max_bytes: of a datagram; a longer one is no packet.

    Attributes:
        place: where it is bound.
        peer: who it talks to; None until `lock`.
        dropped: how many datagrams were thrown away, by reason.

    Raises:
        DeployError: the port is in use, or the place is not ours.
    """

    def __init__(self, place: Address, max_bytes: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(place)
        except OSError as error:
            self._socket.close()
            raise DeployError(
                f"cannot listen on UDP {place[0]}:{place[1]} ({error.strerror})",
                "Is another run using it? Choose another port",
            ) from error
        self._socket.setblocking(False)
        self.place: Address = self._socket.getsockname()
        self.peer: Address | None = None
        self.dropped: Counter[str] = Counter()
        # One byte more than a packet may have: what fills it is too long.
        self._buffer = bytearray(max_bytes + 1)
        self._refused = -REFUSALS_APART

    def receive(self, timeout: float = 0.0) -> tuple[bytes, Address] | None:
        """The next datagram, within so many seconds; None if there is none."""
        self._socket.settimeout(timeout)
        try:
            size, sender = self._socket.recvfrom_into(self._buffer)
        except OSError:  # nothing there, or an ICMP message about what was sent before
            return None
        return bytes(self._buffer[:size]), sender

    def lock(self, sender: Address) -> None:
        """Talk to this one from now on."""
        self.peer = sender
        logger.info("UDP %s:%d: talking to %s:%d", *self.place, *sender)

    def is_stranger(self, sender: Address, refusal: Callable[[], bytes]) -> bool:
        """Whether somebody else has been locked in; a stranger is told so now and then."""
        if self.peer is None or sender == self.peer:
            return False
        if not self.dropped["stranger"]:
            logger.warning("UDP %s:%d: %s:%d is refused, %s:%d is locked in", *self.place, *sender, *self.peer)
        self.dropped["stranger"] += 1
        now = time.monotonic()
        if now - self._refused >= REFUSALS_APART:
            self._refused = now
            self.send(refusal(), sender)
        return True

    def send(self, data: bytes, receiver: Address | None = None) -> None:
        """To the peer, or to somebody else. What cannot be sent now is lost, as on the wire."""
        receiver = receiver or self.peer
        if receiver is not None:
            try:
                self._socket.sendto(data, receiver)
            except OSError:
                self.dropped["unsent"] += 1

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()
