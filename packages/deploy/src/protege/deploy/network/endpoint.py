"""A UDP socket for one peer: the first sender of a valid packet. Problems are one-line errors."""

import contextlib
import ipaddress
import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator

from ..errors import DeployError

logger = logging.getLogger("protege.deploy")

Address = tuple[str, int]
REFUSAL_INTERVAL = 1.0  # s, at least, between two answers to strangers
PEER_TIMEOUT = 1.0  # s of silence after which another sender, such as the restarted peer, may become the peer
MAX_PEER_DATAGRAMS, MAX_STRANGER_DATAGRAMS = (
    256,
    16,
)  # per `take`: a flood must not delay a control step
MAX_LOST_PACKETS = 1000
"""Packets that may be lost in a row. A packet from further ahead is not the peer's."""


def parse_address(text: str, what: str) -> Address:
    """Parse `PORT` or `HOST:PORT`; the default host is this machine's loopback.

    Raises:
        DeployError: the text is neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise DeployError(f"{what}: {text!r} is no address", "Give PORT or HOST:PORT, for instance udp:47800")
    return host or "127.0.0.1", int(port)


def out_of_order(sequence: int, last: int, numbers: int, *, silent: bool) -> str:
    """Why a sequence number does not follow the last one; empty if it does.

    Args:
        sequence: of a packet.
        last: of the last packet that was accepted.
        numbers: the modulus: the number after the greatest is 0 (RFC 1982).
        silent: the peer has been silent: any number of packets may have been lost.
    """
    ahead = (sequence - last) % numbers
    if not 0 < ahead < numbers // 2:
        return "old" if ahead else "duplicate"
    return "" if silent or ahead <= MAX_LOST_PACKETS else "jump"


class Endpoint:
    """Two sockets at one address: one receives from everybody and, once there is a peer, another from this peer only.

    The kernel separates the datagrams, since the peer's socket is connected. Those of others fill their own buffer, of which each
    `take` reads a little, and never the peer's.

    Args:
        address: host and port to bind; port 0 takes a free one.
        max_bytes: of a datagram; a longer one is not a packet.
        keyed: whether packets are signed with a shared key. Without one only this machine's loopback can be bound.
        clock: s, monotonic.

    Attributes:
        address: the bound address.
        peer: address of the peer; None before the first `accept`.
        dropped: number of discarded datagrams, by reason.

    Raises:
        DeployError: the port is in use, the address is not this machine's, or it is not loopback and there is no key.
    """

    def __init__(
        self, address: Address, max_bytes: int, *, keyed: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._socket, self._line = _bound_socket(address, keyed), None
        self.address: Address = self._socket.getsockname()
        self.peer: Address | None = None
        self.dropped: Counter[str] = Counter()
        # One byte more than a packet may have: a datagram that fills it is too long.
        self._buffer = bytearray(max_bytes + 1)
        self._refused, self._last_accepted = -REFUSAL_INTERVAL, 0.0

    def wait(self, timeout: float) -> None:
        """Wait until a datagram comes, for `timeout` s at most."""
        select.select([x for x in (self._socket, self._line) if x is not None], [], [], timeout)

    def take(self) -> Iterator[tuple[bytes, Address]]:
        """Received datagrams with their senders, the peer's first, a bounded number of each group. Does not wait."""
        if self._line is not None:
            yield from self._received(self._line, MAX_PEER_DATAGRAMS)
        yield from self._received(self._socket, MAX_PEER_DATAGRAMS if self.peer is None else MAX_STRANGER_DATAGRAMS)

    @property
    def silent(self) -> bool:
        """Whether there is no peer, or nothing was accepted from it for `PEER_TIMEOUT`."""
        return self.peer is None or self._clock() - self._last_accepted > PEER_TIMEOUT

    def is_stranger(self, sender: Address, refusal: Callable[[], bytes]) -> bool:
        """Whether the sender is not the peer; sends a refusal at most once per `REFUSAL_INTERVAL`. Call it for valid packets only.

        When the peer is silent, the peer is dropped and a new sender is not a stranger.
        """
        if self.peer is None or sender == self.peer:
            return False
        if self.silent:
            logger.warning("UDP %s:%d: %s:%d is silent", *self.address, *self.peer)
            self._drop_peer()
            return False
        if not self.dropped["stranger"]:
            logger.warning("UDP %s:%d: %s:%d is refused, %s:%d is locked in", *self.address, *sender, *self.peer)
        self.dropped["stranger"] += 1
        now = self._clock()
        if now - self._refused >= REFUSAL_INTERVAL:
            self._refused = now
            self.send(refusal(), sender)
        return True

    def accept(self, sender: Address) -> None:
        """Make the sender of an accepted packet the peer, and reset its silence."""
        if sender != self.peer:
            self._drop_peer()
            self.peer = sender
            self._line = _peer_socket(self._socket, self.address, sender)
            logger.info("UDP %s:%d: talking to %s:%d", *self.address, *sender)
        self._last_accepted = self._clock()

    def send(self, data: bytes, receiver: Address | None = None) -> None:
        """Send to the peer, or to `receiver`. A datagram that cannot be sent now is lost."""
        receiver = receiver or self.peer
        if receiver is not None:
            try:
                self._socket.sendto(data, receiver)
            except OSError:
                self.dropped["unsent"] += 1

    def close(self) -> None:
        self._drop_peer()
        with contextlib.suppress(OSError):
            self._socket.close()

    def _drop_peer(self) -> None:
        """Close the peer's socket, so that there is no peer."""
        if self._line is not None:
            self._line.close()
        self._line = self.peer = None

    def _received(self, source: socket.socket, most: int) -> Iterator[tuple[bytes, Address]]:
        for _ in range(most):
            try:
                size, sender = source.recvfrom_into(self._buffer)
            except ConnectionError:  # an ICMP message about an earlier datagram; there may be more
                continue
            except OSError:  # nothing there, or closed meanwhile
                return
            yield bytes(self._buffer[:size]), sender


def _bound_socket(address: Address, keyed: bool) -> socket.socket:
    """A non-blocking socket that is bound to the address."""
    host, port = address
    try:
        if not keyed and not ipaddress.ip_address(socket.gethostbyname(host)).is_loopback:
            raise DeployError(
                f"UDP on {host}:{port} takes orders from the network, and there is no key",
                "Give --key-file FILE or PROTEGE_UDP_KEY, or listen on 127.0.0.1",
            )
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError as error:
        raise DeployError(
            f"cannot find the host {host} ({error.strerror})", "Name an address of this machine"
        ) from error
    try:
        opened.bind(address)
    except OSError as error:
        opened.close()
        raise DeployError(
            f"cannot listen on UDP {host}:{port} ({error.strerror})", "Is another run using it? Choose another port"
        ) from error
    opened.setblocking(False)
    return opened


def _peer_socket(listening: socket.socket, address: Address, peer: Address) -> socket.socket | None:
    """A second socket at the address, connected to the peer; None if the system does not share an address between sockets."""
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    pair = (listening, line)
    try:
        for one in pair:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        line.bind(address)
        line.connect(peer)
        line.setblocking(False)
    except OSError:
        line.close()
        return None
    finally:
        # No other socket may share the address.
        for one in pair:
            if one.fileno() >= 0:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
    return line
