"""A robot whose program is another process, in any language, at the other end of a UDP socket."""

import time

import numpy as np

from ..errors import DeployError
from ..interface import MEASURED_FIELDS, POSITION_FIELDS, Array, Mode, RobotReading
from ..network.endpoint import Address, Endpoint, out_of_order
from ..network.wire import SEQUENCE_MODULUS, Codec, MalformedError, Packet, PacketKind
from ..policy.metadata import Metadata
from ..policy.senses import measured_inputs, measured_names

VALID_PERIODS = 3.0  # for how long a target is valid: then a robot should damp by itself
FINAL_DAMPING_PACKETS = 3  # damping packets when the run is over; one may get lost


class UdpRobot:
    """Implements `RobotInterface`: `read` is the newest measurement that has come, `write` one packet.

    The first robot that sends a valid state is locked in; another is refused until the first has been silent for a second. If
    nothing new has come, a reading is the one before, with its stamp, which is how `Safety` knows. A state that is not finite is
    no state, but a place or a velocity that is NaN throughout is one that the robot does not measure.

    Args:
        place: where to listen, host and port.
        metadata: of the policy.
        wait: s for the robot's first packet.
        key: shared with the robot; without one it must be on this machine.

    Raises:
        DeployError: the port is in use, or no robot came, or one with other joints or another key, or one that does not measure
            what the policy reads.
    """

    def __init__(self, place: Address, metadata: Metadata, wait: float = 10.0, key: bytes | None = None) -> None:
        self.codec = Codec(metadata.joint_names, key)
        self.endpoint = Endpoint(place, self.codec.max_bytes, keyed=key is not None)
        self._gains = {
            Mode.CONTROL: [np.array(metadata.stiffness), np.array(metadata.damping)],
            Mode.DAMPING: [np.zeros(metadata.num_joints), np.array(metadata.damping)],
        }
        self._metadata = metadata
        self._valid_for, self._sequence = np.array(VALID_PERIODS * metadata.control_dt), 0
        self._last: RobotReading | None = None
        self._past = set[int]()  # sessions of the robot's program that are over
        try:
            self._wait(wait)
        except BaseException:
            self.endpoint.close()
            raise

    @property
    def dropped(self) -> dict[str, int]:
        """Datagrams that were thrown away, by reason; see docs/realtime.md."""
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
                host, port = self.endpoint.place
                said = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
                came = f"what came was thrown away: {said}" if said else "nothing came"
                raise DeployError(
                    f"no robot on UDP {host}:{port} within {seconds:g} s; {came}",
                    "Start its program, see docs/realtime.md",
                )
            self.endpoint.wait(left)
            for datagram in self.endpoint.take():
                self._accept(*datagram)

    def _accept(self, data: bytes, sender: Address) -> None:
        """Take a datagram, or throw it away and count why."""
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
        """Whether it holds what the policy reads, and nothing that is not finite."""
        said = [value for name in MEASURED_FIELDS if (value := getattr(reading, name)) is not None]
        if not all(np.isfinite(value).all() for value in said):
            return False
        if self._last is None:
            measured_inputs(reading, self._metadata)
            return True
        return all(
            getattr(reading, name) is not None for name in measured_names(self._metadata) if name in POSITION_FIELDS
        )

    def _out_of_order(self, packet: Packet) -> str:
        """Why a state is not the next one, empty if it is. A robot that begins anew begins its sequence anew."""
        if packet.session in self._past:
            return "old"
        known, silent = packet.session == self.codec.peer_session, self.endpoint.silent
        if self._last is None or not known or (silent and not packet.session):
            return ""
        return out_of_order(packet.sequence, int(self._last.stamp or 0), SEQUENCE_MODULUS, silent=silent)

    def _greet(self, packet: Packet, sender: Address) -> None:
        """Tell a robot our session number: its next states must name it, so that no recording of an earlier run passes."""
        self.endpoint.dropped["introduction"] += 1
        before, self.codec.peer_session = self.codec.peer_session, packet.session
        self.endpoint.send(self.codec.pack(PacketKind.GREETING, 0, time.monotonic(), []), sender)
        self.codec.peer_session = before
