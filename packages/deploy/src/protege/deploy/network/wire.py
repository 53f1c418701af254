"""The packets between a policy and a robot process in any language; docs/realtime.md describes them byte by byte.

Little-endian, without padding. Version 1, for one machine: header, float32 payload, CRC-32 (zlib's, IEEE 802.3) of the bytes before
it. Version 2, with a shared key: header, session numbers of sender and receiver, payload, HMAC-SHA256 of the bytes before it.
"""

import secrets
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ..geometry import Array
from ..interface import MEASURED_FIELDS, POSITION_FIELDS, ROOT_SIZES, Mode, RobotReading
from .keys import TAG_BYTES, is_signed, signature

MAGIC = b"PRTG"
CHECKSUM_VERSION, SIGNED_VERSION = 1, 2
"""Versions: with a CRC, and signed with a key."""
HEADER = struct.Struct("<4sHBBIIdHH")
"""Magic, version, kind, mode, sequence, joint names' CRC, time, joints, payload bytes."""
SESSIONS = struct.Struct("<QQ")  # the sender's, and the receiver's if the sender knows it, else 0
CHECKSUM = struct.Struct("<I")
FLOAT = np.dtype("<f4")
SEQUENCE_MODULUS = 1 << 32
MODES = frozenset(Mode)


class PacketKind(IntEnum):
    """The kind of a packet."""

    STATE = 1
    """Robot to policy: root_pos_w, root_quat_w, root_lin_vel_w, root_ang_vel_w, joint_pos, joint_vel."""
    TARGET = 2
    """Policy to robot: duration of its validity, s; joint targets, stiffness, damping."""
    REFUSAL = 3
    """Policy to a second robot: no payload."""
    GREETING = 4
    """Policy to a robot that does not know its session number yet: no payload. Only with a key."""


@dataclass(frozen=True)
class Packet:
    """A packet. Everything but its sequence has been checked.

    Attributes:
        kind: of the packet.
        mode: of a target; `CONTROL` in other packets.
        sequence: of its sender, modulo 2^32.
        time: s, of its sender's clock.
        values: the payload, (n,) float32.
        session: the sender's number, new in each run of its program; 0 without a key.
        answers: whether it contains our session number. If not, the packet may be a recording of an earlier run.
    """

    kind: PacketKind
    mode: Mode
    sequence: int
    time: float
    values: Array
    session: int = 0
    answers: bool = True


class MalformedError(ValueError):
    """Why a datagram is not a packet: `size`, `magic`, `version`, `kind`, `joints`, `checksum`, or `signature`."""


class Codec:
    """Packs and unpacks for one robot.

    Args:
        joint_names: in the policy's order; both sides must have the same.
        key: shared with the other side; None for packets of version 1.

    Attributes:
        session: our random number of this run; received packets must contain it.
        peer_session: the other side's number; to be set when it is known.
    """

    def __init__(self, joint_names: Sequence[str], key: bytes | None = None) -> None:
        self._key, self.session, self.peer_session = key, 1 + secrets.randbelow(2**64 - 1), 0
        self.num_joints = len(joint_names)
        self.joints_crc = zlib.crc32(",".join(joint_names).encode())
        floats = {
            PacketKind.STATE: sum(ROOT_SIZES.values()) + 2 * self.num_joints,
            PacketKind.TARGET: 1 + 3 * self.num_joints,
            PacketKind.REFUSAL: 0,
            **({PacketKind.GREETING: 0} if key else {}),
        }  # fmt: skip
        self._start = HEADER.size + (SESSIONS.size if key else 0)
        self._end = TAG_BYTES if key else CHECKSUM.size
        self.sizes = {kind: self._start + FLOAT.itemsize * count + self._end for kind, count in floats.items()}
        self.max_bytes = max(self.sizes.values())

    def pack(
        self, kind: PacketKind, sequence: int, time: float, values: Sequence[Array], mode: Mode = Mode.CONTROL
    ) -> bytes:
        """Pack a packet; its payload is the concatenation of the values."""
        payload = np.concatenate([np.ravel(value) for value in values]).astype(FLOAT).tobytes() if values else b""
        version = SIGNED_VERSION if self._key else CHECKSUM_VERSION
        head = HEADER.pack(
            MAGIC,
            version,
            kind,
            mode,
            sequence % SEQUENCE_MODULUS,
            self.joints_crc,
            time,
            self.num_joints,
            len(payload),
        )
        if self._key is None:
            return head + payload + CHECKSUM.pack(zlib.crc32(head + payload))
        body = head + SESSIONS.pack(self.session, self.peer_session) + payload
        return body + signature(self._key, body)

    def unpack(self, data: bytes | memoryview) -> Packet:
        """The packet in a datagram. Cheap checks come first.

        Raises:
            MalformedError: the datagram is invalid.
        """
        if not self._start + self._end <= len(data) <= self.max_bytes:
            raise MalformedError("size")
        magic, version, kind, mode, sequence, joints_crc, time, joints, payload = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise MalformedError("magic")
        if version != (SIGNED_VERSION if self._key else CHECKSUM_VERSION):
            raise MalformedError("version")
        if kind not in self.sizes or mode not in MODES:
            raise MalformedError("kind")
        if joints != self.num_joints or joints_crc != self.joints_crc:
            raise MalformedError("joints")
        if len(data) != self.sizes[kind] or payload != len(data) - self._start - self._end:
            raise MalformedError("size")
        body, end = data[: -self._end], data[-self._end :]
        session, answers = 0, True
        if self._key is None:
            if zlib.crc32(body) != CHECKSUM.unpack(end)[0]:
                raise MalformedError("checksum")
        else:
            if not is_signed(self._key, body, end):
                raise MalformedError("signature")
            session, ours = SESSIONS.unpack_from(data, HEADER.size)
            answers = ours == self.session
        values = np.frombuffer(body, FLOAT, offset=self._start).astype(np.float32)
        return Packet(PacketKind(kind), Mode(mode), sequence, time, values, session, answers)

    def reading(self, packet: Packet) -> RobotReading:
        """The reading in a state packet. A position or velocity of NaN only is not measured."""
        ends = np.cumsum([*ROOT_SIZES.values(), self.num_joints])
        parts = dict(zip(MEASURED_FIELDS, np.split(packet.values, ends), strict=True))
        unknown = {name: None for name in POSITION_FIELDS if np.isnan(parts[name]).all()}
        return RobotReading(**{**parts, **unknown}, stamp=packet.sequence)
