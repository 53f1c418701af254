"""A robot whose program is another process, in any language, at the other end of a UDP socket."""

import time

import numpy as np

from ..endpoint import Address, Endpoint
from ..errors import DeployError
from ..interface import Array, Mode, RobotReading
from ..metadata import Metadata
from ..wire import Codec, Kind, MalformedError, is_newer

MOST_PER_READ = 256  # datagrams: a flood must not hold up a step
VALID_PERIODS = 3.0  # for how long a target is valid: then a robot should damp by itself
PARTING = 3  # damping packets when the run is over; one may get lost


class UdpRobot:
    """Implements `RobotInterface`: `read` is the newest measurement that has come, `write` one packet.

    The first robot that sends a valid state is locked in; another is refused. If nothing new has come, a reading is the one before,
    with its stamp, which is how `Safety` knows.

    Args:
        place: where to listen, host and port.
        metadata: of the policy.
        wait: s for the robot's first packet.

    Raises:
        DeployError: the port is in use, or no robot came, or one with other joints.
    """

    def __init__(self, place: Address, metadata: Metadata, wait: float = 10.0) -> None:
        self.codec = Codec(metadata.joint_names)
        self.endpoint = Endpoint(place, self.codec.max_bytes)
        self._gains = {
            Mode.CONTROL: [np.array(metadata.stiffness), np.array(metadata.damping)],
            Mode.DAMPING: [np.zeros(metadata.num_joints), np.array(metadata.damping)],
        }
        self._valid_for, self._sequence = np.array(VALID_PERIODS * metadata.control_dt), 0
        self._last: RobotReading | None = None
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
        for _ in range(MOST_PER_READ):
            datagram = self.endpoint.receive()
            if datagram is None:
                break
            self._accept(*datagram)
        assert self._last is not None  # the first one was waited for
        return self._last

    def write(self, joint_target: Array, mode: Mode = Mode.CONTROL) -> None:
        values = [self._valid_for, joint_target, *self._gains[mode]]
        self.endpoint.send(self.codec.pack(Kind.TARGET, self._sequence, time.monotonic(), values, mode))
        self._sequence += 1

    def close(self) -> None:
        """Leave the robot damping."""
        if self._last is not None:
            for _ in range(PARTING):
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
            datagram = self.endpoint.receive(left)
            if datagram is not None:
                self._accept(*datagram)

    def _accept(self, data: bytes, sender: Address) -> None:
        """Take a datagram, or throw it away and count why."""
        dropped = self.endpoint.dropped
        try:
            packet = self.codec.unpack(data)
        except MalformedError as reason:
            dropped[str(reason)] += 1
            return
        if packet.kind is not Kind.STATE:
            dropped["kind"] += 1
            return
        if self.endpoint.is_stranger(sender, lambda: self.codec.pack(Kind.REFUSAL, 0, time.monotonic(), [])):
            return
        if self._last is None:
            self.endpoint.lock(sender)
        elif not is_newer(packet.sequence, int(self._last.stamp or 0)):
            dropped["duplicate" if packet.sequence == self._last.stamp else "old"] += 1
            return
        self._last = self.codec.reading(packet)
