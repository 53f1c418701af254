"""A robot process for `protege-deploy run --robot udp:PORT`, with Python's standard library alone: a model for any language.

    python udp_robot.py policy.json 127.0.0.1 47800 [KEY_FILE]

The robot stands, and its joints reach their targets within a few periods. Without packets it damps: its joints stay where they are.
With the key file of the run's `--key-file` both sides sign their packets.
"""

import hashlib
import hmac
import json
import secrets
import socket
import struct
import sys
import time
import zlib
from contextlib import suppress

HEADER = struct.Struct("<4sHBBIIdHH")
SESSIONS = struct.Struct("<QQ")
STATE, TARGET, REFUSAL, GREETING, DAMPING = 1, 2, 3, 4, 1
MAX_LOST_PACKETS = 1000


class Link:
    """Packs and unpacks packets: version 1 with a checksum or, with a key, version 2 with sessions and a signature."""

    def __init__(self, joint_names: list[str], key: bytes | None) -> None:
        self.key, self.joints = key, len(joint_names)
        self.crc = zlib.crc32(",".join(joint_names).encode())
        self.version, self.start, self.end = (2, HEADER.size + SESSIONS.size, 32) if key else (1, HEADER.size, 4)
        self.session, self.peer_session = 1 + secrets.randbelow(2**64 - 1), 0

    def check(self, body: bytes) -> bytes:
        """The checksum or signature that follows a packet's body."""
        return hmac.digest(self.key, body, hashlib.sha256) if self.key else struct.pack("<I", zlib.crc32(body))

    def state(self, sequence: int, values: list[float]) -> bytes:
        """A state packet."""
        payload = struct.pack(f"<{len(values)}f", *values)
        fields = (sequence % 2**32, self.crc, time.monotonic(), self.joints, len(payload))
        body = HEADER.pack(b"PRTG", self.version, STATE, 0, *fields)
        body += (SESSIONS.pack(self.session, self.peer_session) if self.key else b"") + payload
        return body + self.check(body)

    def unpack(self, packet: bytes) -> tuple[int, int, int, list[float]] | None:
        """Kind, mode, sequence and payload; None if the packet is invalid or a recording of an earlier run."""
        body, end = packet[: -self.end], packet[-self.end :]
        if len(body) < self.start or not hmac.compare_digest(self.check(body), end):
            return None
        magic, version, kind, mode, sequence, crc, _, joints, length = HEADER.unpack_from(packet)
        if (magic, version, crc, joints, length) != (
            b"PRTG",
            self.version,
            self.crc,
            self.joints,
            len(body) - self.start,
        ):
            return None
        if self.key:
            theirs, ours = SESSIONS.unpack_from(packet, HEADER.size)
            if ours != self.session:
                return None
            if kind == GREETING:
                self.peer_session = theirs
            elif theirs != self.peer_session:
                return None
        return kind, mode, sequence, list(struct.unpack(f"<{length // 4}f", body[self.start :]))


def main(metadata: str, host: str, port: str, key_file: str = "") -> None:
    """Run forever at the policy's rate."""
    with open(metadata) as file:
        policy = json.load(file)
    key = None
    if key_file:
        with open(key_file, "rb") as file:
            key = file.read().strip()
    link, joints, period = Link(policy["joint_names"], key), len(policy["joint_names"]), policy["control_dt"]
    pos, target, newest, until, sequence = list(policy["default_joint_pos"]), None, None, 0.0, 0
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.connect((host, int(port)))
    while True:
        root = [0.0, 0.0, 0.9] + [1.0, 0.0, 0.0, 0.0] + [0.0] * 6  # position, rotation wxyz, velocities
        before = list(pos)
        if target is not None and time.monotonic() < until:
            pos = [p + 0.3 * (t - p) for p, t in zip(pos, target, strict=True)]
        velocity = [(p - b) / period for p, b in zip(pos, before, strict=True)]
        # A refused connection means that the run has not started yet, or has ended.
        with suppress(ConnectionRefusedError):
            line.send(link.state(sequence, root + pos + velocity))
        sequence, tick = sequence + 1, time.monotonic() + period
        while (left := tick - time.monotonic()) > 0.0:
            line.settimeout(left)
            packet = None
            with suppress(TimeoutError, ConnectionRefusedError):
                packet = link.unpack(line.recv(65536))
            if packet is None:
                continue
            kind, mode, number, values = packet
            if kind == REFUSAL:
                sys.exit("another robot is locked in")
            if kind == GREETING:  # a run begins with a new sequence
                newest = None
            ahead, silent = (number - (newest or 0)) % 2**32, time.monotonic() > until
            follows = 0 < ahead < 2**31 if key else True  # after silence: without a key it may be another run
            fresh = newest is None or (follows if silent else 0 < ahead <= MAX_LOST_PACKETS)
            # Damping is a stop: it is obeyed whatever its sequence number.
            if kind == TARGET and (fresh or mode == DAMPING):
                valid, *values = values
                target, newest, until = (None if mode == DAMPING else values[:joints]), number, time.monotonic() + valid


if __name__ == "__main__":
    main(*sys.argv[1:5])
