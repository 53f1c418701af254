"""Reads and writes messages over DDS with Eclipse Cyclone DDS, on one network interface."""

import threading
import time
from collections import Counter
from functools import cache
from html import escape
from typing import Any

import numpy as np

from ..errors import DeployError, needs
from .cdr import MalformedError, decode, encode
from .messages import MessageKind

LOOPBACK = "lo"
PEER_TIMEOUT = 1.0  # s of silence after which another peer is accepted, as in `network.endpoint`
_MAX_MESSAGES = 16
"""Messages per read: a flood must not delay the loop. The middleware stores the newest message of each writer."""
_open_domains = dict[int, tuple[str, Any]]()
"""Domains of this process, by number: their interface and handle. DDS configures a domain once per process."""
_dds_lock = threading.Lock()
"""Held while DDS objects are created, since a type must be created only once."""


class Bus:
    """A participant of a DDS domain.

    Args:
        interface: of the network, such as `eth0`; `lo` stays on this machine.
        domain: its number; the robot's is 0.

    Attributes:
        dropped: number of discarded messages, by reason.

    Raises:
        DeployError: Cyclone DDS is not installed, or cannot use the interface.
    """

    def __init__(self, interface: str, domain: int = 0) -> None:
        with needs("unitree"):
            from cyclonedds.core import DDSException
            from cyclonedds.domain import Domain, DomainParticipant
        try:
            with _dds_lock:
                if domain not in _open_domains:
                    _open_domains[domain] = interface, Domain(domain, _config(interface))
                if _open_domains[domain][0] != interface:
                    used = _open_domains[domain][0]
                    raise DeployError(f"DDS domain {domain} uses the interface {used} in this process", "Take another")
            self._participant: Any = DomainParticipant(domain)
        except DDSException as error:
            with _dds_lock:
                _open_domains.pop(domain, None)
            raise DeployError(
                f"DDS cannot use the interface {interface} for domain {domain} ({error})",
                "Name one that is up (ip address), such as eth0; lo stays on this machine",
            ) from error
        self._failure, self._ends = DDSException, dict[tuple[str, str], Any]()
        # By topic: handle of the accepted writer, and time of its last message.
        self._peers = dict[str, tuple[int, float]]()
        self.dropped = Counter[str]()

    def publish(self, message: np.ndarray, kind: MessageKind) -> None:
        """Publish a record, with its checksum."""
        self.publish_bytes(encode(message, kind), kind)

    def publish_bytes(self, data: bytes, kind: MessageKind) -> None:
        """Publish an encoded message."""
        try:
            writer = self._end("writer", kind)
            writer.write(writer.data_type(data))
        except self._failure:
            self.dropped["unsent"] += 1

    def take(self, kind: MessageKind) -> np.ndarray | None:
        """The newest accepted record since the last call; None if there is none. Does not wait.

        If several writers publish the same kind, the first is accepted until it has been silent for `PEER_TIMEOUT`.
        """
        newest, samples, peer = None, [], self._peers.get(kind.topic)
        try:
            samples = self._end("reader", kind).take(N=_MAX_MESSAGES)
        except self._failure:
            self.dropped["unread"] += 1
        for sample in samples:
            data = getattr(sample, "data", None)
            if data is None:  # a writer has gone
                continue
            writer, now = sample.sample_info.publication_handle, time.monotonic()
            if peer is not None and writer != peer[0] and now - peer[1] < PEER_TIMEOUT:
                self.dropped["stranger"] += 1
                continue
            try:
                newest = decode(data, kind)
            except MalformedError as reason:
                self.dropped[str(reason)] += 1
                continue
            peer = self._peers[kind.topic] = writer, now
        return newest

    def close(self) -> None:
        """Leave the domain. May be called again."""
        self._ends.clear()
        self._participant = None

    def _end(self, which: str, kind: MessageKind) -> Any:
        """The writer or reader of a kind of message, created when any thread first needs it."""
        with _dds_lock:
            if (which, kind.topic) not in self._ends:
                self._ends[which, kind.topic] = self._make(which, kind)
            return self._ends[which, kind.topic]

    def _make(self, which: str, kind: MessageKind) -> Any:
        from cyclonedds.core import Policy
        from cyclonedds.pub import DataWriter
        from cyclonedds.qos import Qos
        from cyclonedds.sub import DataReader
        from cyclonedds.topic import Topic

        topic, newest = Topic(self._participant, kind.topic, _type(kind)), Policy.History.KeepLast(1)
        if which == "writer":
            return DataWriter(self._participant, topic, qos=Qos(newest))
        # A lost message would be outdated when it is sent again.
        return DataReader(self._participant, topic, qos=Qos(newest, Policy.Reliability.BestEffort))


@cache
def _type(kind: MessageKind) -> Any:
    """The DDS type of a kind of message, created from its record. A sample of it holds the encoded bytes."""
    from cyclonedds.idl import make_idl_struct, types

    primitives = {"u1": "uint8", "i2": "int16", "i4": "int32", "u4": "uint32", "f4": "float32"}

    def idl(dtype: np.dtype, name: str) -> Any:
        if dtype.subdtype is not None:
            base, shape = dtype.subdtype
            return types.array[idl(base, name), int(np.prod(shape))]
        if dtype.fields is not None:
            members = {key: idl(entry[0], kind.members.get(key, "")) for key, entry in dtype.fields.items()}
            return make_idl_struct(name.rpartition(".")[2], name, members)
        return getattr(types, primitives[dtype.str[1:]])

    described = idl(kind.dtype, kind.name)

    # Cyclone's own Python encoder takes 0.4 ms for a state, a fifth of its period. So samples hold bytes from our encoder.
    def init(self: Any, data: bytes) -> None:
        self.data = data

    def serialize(self: Any, *_: object, **__: object) -> bytes:
        return self.data

    def deserialize(cls: Any, data: bytes, *_: object, **__: object) -> Any:
        return cls(bytes(data))

    described.__init__, described.serialize = init, serialize
    described.deserialize, described.deserialize_key = classmethod(deserialize), classmethod(lambda *_, **__: None)
    return described


def _config(interface: str) -> str:
    """The middleware's configuration: one interface, and the defaults, as in Unitree's own programs.

    On loopback these discover each other by multicast or, with an older Cyclone DDS, by unicast. Both are enabled here.
    """
    place = f'<NetworkInterface name="{escape(interface)}" priority="default" multicast="default"/>'
    both = '<ParticipantIndex>auto</ParticipantIndex><Peers><Peer Address="127.0.0.1"/></Peers>'
    found = f"<Discovery>{both}</Discovery>" if interface == LOOPBACK else ""
    return (
        f'<CycloneDDS><Domain Id="any"><General><Interfaces>{place}</Interfaces></General>{found}</Domain></CycloneDDS>'
    )
