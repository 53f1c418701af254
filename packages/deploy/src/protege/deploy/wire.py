"""The packets between a policy and a robot process in any language: docs/realtime.md has them byte by byte.

Little-endian, without padding: header, float32 payload, CRC-32 (zlib's, IEEE 802.3) of all that is before it.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .interface import MEASURED, Array, Mode, RobotReading

MAGIC, VERSION = b"PRTG", 1
HEADER = struct.Struct(
    "<4sHBBIIdHH"
)  # magic, version, kind, mode, sequence, joint names' CRC, time, joints, payload bytes
CHECKSUM = struct.Struct("<I")
ROOT = {"root_pos_w": 3, "root_quat_w": 4, "root_lin_vel_w": 3, "root_ang_vel_w": 3}
FLOAT = np.dtype("<f4")
SEQUENCES = 1 << 32
MODES = frozenset(Mode)


class Kind(IntEnum):
    """What a packet is."""

    STATE = 1
    """Robot to policy: root_pos_w, root_quat_w, root_lin_vel_w, root_ang_vel_w, joint_pos, joint_vel."""
    TARGET = 2
    """Policy to robot: for how long it is valid, s; joint targets, stiffness, damping."""
    REFUSAL = 3
    """Policy to a second robot: no payload."""


@dataclass(frozen=True)
class Packet:
    """One packet, of which everything but the sequence has been checked.

    Attributes:
        kind: what it is.
        mode: of a target; `CONTROL` in others.
        sequence: of its sender, modulo 2^32.
        time: s, of its sender's clock.
        values: the payload, (n,) float32.
    """

    kind: Kind
    mode: Mode
    sequence: int
    time: float
    values: Array


class MalformedError(ValueError):
    """Why a datagram is no packet: `size`, `magic`, `version`, `kind`, `joints` or `checksum`."""


class Codec:
    """Packs and unpacks for one robot.

    Args:
        joint_names: in the policy's order; both sides must have the same.
    """

    def __init__(self, joint_names: Sequence[str]) -> None:
        self.num_joints = len(joint_names)
        self.joints_crc = zlib.crc32(",".join(joint_names).encode())
        floats = {
            Kind.STATE: sum(ROOT.values()) + 2 * self.num_joints, Kind.TARGET: 1 + 3 * self.num_joints, Kind.REFUSAL: 0
        }  # fmt: skip
        self.sizes = {kind: HEADER.size + FLOAT.itemsize * count + CHECKSUM.size for kind, count in floats.items()}
        self.max_bytes = max(self.sizes.values())

    def pack(self, kind: Kind, sequence: int, time: float, values: Sequence[Array], mode: Mode = Mode.CONTROL) -> bytes:
        """A packet; values are joined to its payload."""
        payload = np.concatenate([np.ravel(value) for value in values]).astype(FLOAT).tobytes() if values else b""
        head = HEADER.pack(
            MAGIC, VERSION, kind, mode, sequence % SEQUENCES, self.joints_crc, time, self.num_joints, len(payload)
        )
        return head + payload + CHECKSUM.pack(zlib.crc32(head + payload))

    def unpack(self, data: bytes | memoryview) -> Packet:
        """The packet in a datagram.

        Raises:
            MalformedError: what is wrong with it.
        """
        if not HEADER.size + CHECKSUM.size <= len(data) <= self.max_bytes:
            raise MalformedError("size")
        magic, version, kind, mode, sequence, joints_crc, time, joints, payload = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise MalformedError("magic")
        if version != VERSION:
            raise MalformedError("version")
        if kind not in self.sizes or mode not in MODES:
            raise MalformedError("kind")
        if joints != self.num_joints or joints_crc != self.joints_crc:
            raise MalformedError("joints")
        if len(data) != self.sizes[kind] or payload != len(data) - HEADER.size - CHECKSUM.size:
            raise MalformedError("size")
        body, (checksum,) = data[: -CHECKSUM.size], CHECKSUM.unpack(data[-CHECKSUM.size :])
        if zlib.crc32(body) != checksum:
            raise MalformedError("checksum")
        values = np.frombuffer(body, FLOAT, offset=HEADER.size).astype(np.float32)
        return Packet(Kind(kind), Mode(mode), sequence, time, values)

    def state(self, sequence: int, time: float, reading: RobotReading) -> bytes:
        """What a robot measures, as a packet."""
        return self.pack(Kind.STATE, sequence, time, [getattr(reading, name) for name in MEASURED])

    def reading(self, packet: Packet) -> RobotReading:
        """What a state packet says."""
        ends = np.cumsum([*ROOT.values(), self.num_joints])
        parts = np.split(packet.values, ends)
        return RobotReading(**dict(zip(MEASURED, parts, strict=True)), stamp=packet.sequence)


def is_newer(sequence: int, last: int) -> bool:
    """Whether a sequence number comes after another, which may have gone once round (RFC 1982)."""
    return 0 < (sequence - last) % SEQUENCES < SEQUENCES // 2
