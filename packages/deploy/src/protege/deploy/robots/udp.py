"""A robot whose program is another process, in any language, over UDP."""

import time

import numpy as np

from ..errors import DeployError
from ..geometry import Array
from ..interface import MEASURED_FIELDS, POSITION_FIELDS, Mode, RobotReading
from ..network.endpoint import Address, Endpoint, out_of_order
from ..network.wire import SEQUENCE_MODULUS, Codec, MalformedError, Packet, PacketKind
from ..policy.metadata import Metadata
from ..policy.sensor_inputs import measured_inputs, measured_names

VALID_PERIODS = 3.0  # for which a target is valid; afterwards a robot should damp by itself
FINAL_DAMPING_PACKETS = 3  # at the end of a run; several, because one may get lost


class UdpRobot:
    """Implements `RobotInterface`: `read` returns the newest received measurement, `write` sends one packet.

    The first robot that sends a valid state becomes the peer. Another is refused until the first has been silent for a second. If
    nothing new was received, `read` returns the last reading with its stamp, so that `Safety` detects it. A state that is not
    finite is discarded, but a position or velocity of NaN only counts as not measured.

    Args:
        address: host and port to listen on.
        metadata: of the policy.
        wait: s for the robot's first packet.
        key: shared with the robot; without one it must be on this machine.

    Raises:
        DeployError: the port is in use, or no robot with these joints and this key was found that measures the policy's inputs.
    """

    def __init__(self, address: Address, metadata: Metadata, wait: float = 10.0, key: bytes | None = None) -> None:
        self.codec = Codec(metadata.joint_names, key)
        self.endpoint = Endpoint(address, self.codec.max_bytes, keyed=key is not None)
        self._gains = {
            Mode.CONTROL: [np.array(metadata.stiffness), np.array(metadata.damping)],
            Mode.DAMPING: [np.zeros(metadata.num_joints), np.array(metadata.damping)],
        }
        self._metadata = metadata
        self._valid_for, self._sequence = np.array(VALID_PERIODS * metadata.control_dt), 0
        self._last: RobotReading | None = None
        self._past = set[int]()  # ended sessions of the robot's program
        try:
            self._wait(wait)
        except BaseException:
            self.endpoint.close()
            raise

    @property
    def dropped(self) -> dict[str, int]:
        """Number of discarded datagrams, by reason; see docs/realtime.md."""
        return dict(self.endpoint.dropped)

    def read(self) -> RobotReading:
        for datagram in self.endpoint.take():
            self._accept(*datagram)
        assert self._last is not None  # the first one was waited for
        return self._last

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        values = [self._valid_for, joint_target, *self._gains[mode]]
        self.endpoint.send(self.codec.pack(PacketKind.TARGET, self._sequence, time.monotonic(), values, mode))
        self._sequence += 1

    def close(self) -> None:
        """Leave the robot damping."""
        if self._last is not None:
            for _ in range(FINAL_DAMPING_PACKETS):
                self.write(self._last.joint_pos, Mode.DAMPING)
        self.endpoint.close()

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self._last is None:
            left = end - time.monotonic()
            if left <= 0.0:
                host, port = self.endpoint.address
                reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
                came = f"received and discarded: {reasons}" if reasons else "nothing came"
                raise DeployError(
                    f"no robot on UDP {host}:{port} within {seconds:g} s; {came}",
                    "Start its program, see docs/realtime.md",
                )
            self.endpoint.wait(left)
            for datagram in self.endpoint.take():
                self._accept(*datagram)

    def _accept(self, data: bytes, sender: Address) -> None:
        """Process a datagram, or discard it and count the reason."""
        dropped = self.endpoint.dropped
        try:
            packet = self.codec.unpack(data)
        except MalformedError as reason:
            dropped[str(reason)] += 1
            return
        if packet.kind is not PacketKind.STATE:
            dropped["kind"] += 1
            return
        if not packet.answers:
            self._greet(packet, sender)
            return
        reading = self.codec.reading(packet)
        if not self._is_finite(reading):
            dropped["not finite"] += 1
            return
        if self.endpoint.is_stranger(sender, lambda: self.codec.pack(PacketKind.REFUSAL, 0, time.monotonic(), [])):
            return
        reason = self._out_of_order(packet)
        if reason:
            dropped[reason] += 1
            return
        if packet.session != self.codec.peer_session:
            self._past.add(self.codec.peer_session)
            self.codec.peer_session = packet.session
        self.endpoint.accept(sender)
        self._last = reading

    def _is_finite(self, reading: RobotReading) -> bool:
        """Whether it has all inputs of the policy and only finite values."""
        values = [value for name in MEASURED_FIELDS if (value := getattr(reading, name)) is not None]
        if not all(np.isfinite(value).all() for value in values):
            return False
        if self._last is None:
            measured_inputs(reading, self._metadata)
            return True
        return all(
            getattr(reading, name) is not None for name in measured_names(self._metadata) if name in POSITION_FIELDS
        )

    def _out_of_order(self, packet: Packet) -> str:
        """Why a state is not the next one; empty if it is. A restarted robot restarts its sequence."""
        if packet.session in self._past:
            return "old"
        known, silent = packet.session == self.codec.peer_session, self.endpoint.silent
        if self._last is None or not known or (silent and not packet.session):
            return ""
        return out_of_order(packet.sequence, int(self._last.stamp or 0), SEQUENCE_MODULUS, silent=silent)

    def _greet(self, packet: Packet, sender: Address) -> None:
        """Send a robot our session number. Its next states must contain it, which excludes recordings of earlier runs."""
        self.endpoint.dropped["introduction"] += 1
        before, self.codec.peer_session = self.codec.peer_session, packet.session
        self.endpoint.send(self.codec.pack(PacketKind.GREETING, 0, time.monotonic(), []), sender)
        self.codec.peer_session = before
