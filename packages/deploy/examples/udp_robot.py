"""A robot process for `protege-deploy run --robot udp:PORT`: Python's standard library alone, to be written anew in any language.

    python udp_robot.py policy.json 127.0.0.1 47800

It stands, its joints go to their targets within a few periods, and it damps, that is stays, when it hears nothing.
"""

import json
import socket
import struct
import sys
import time
import zlib
from contextlib import suppress

HEADER = struct.Struct("<4sHBBIIdHH")
STATE, TARGET, REFUSAL, DAMPING = 1, 2, 3, 1


def pack(kind: int, sequence: int, crc: int, joints: int, values: list[float]) -> bytes:
    """A packet of this robot."""
    payload = struct.pack(f"<{len(values)}f", *values)
    packet = HEADER.pack(b"PRTG", 1, kind, 0, sequence, crc, time.monotonic(), joints, len(payload)) + payload
    return packet + struct.pack("<I", zlib.crc32(packet))


def unpack(packet: bytes, crc: int, joints: int) -> tuple[int, int, int, list[float]] | None:
    """Kind, mode, sequence, payload; None if it is no packet for this robot."""
    if len(packet) < HEADER.size + 4 or struct.unpack("<I", packet[-4:])[0] != zlib.crc32(packet[:-4]):
        return None
    magic, version, kind, mode, sequence, names, _, count, length = HEADER.unpack_from(packet)
    if (magic, version, names, count, length) != (b"PRTG", 1, crc, joints, len(packet) - HEADER.size - 4):
        return None
    return kind, mode, sequence, list(struct.unpack(f"<{length // 4}f", packet[HEADER.size : -4]))


def main(metadata: str, host: str, port: str) -> None:
    """Live at the policy's rate, for ever."""
    with open(metadata) as file:
        policy = json.load(file)
    joints, crc = len(policy["joint_names"]), zlib.crc32(",".join(policy["joint_names"]).encode())
    pos, target, newest, until, sequence = list(policy["default_joint_pos"]), None, -1, 0.0, 0
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect((host, int(port)))
    while True:
        root = [0.0, 0.0, 0.9] + [1.0, 0.0, 0.0, 0.0] + [0.0] * 6  # position, rotation wxyz, velocities
        before = list(pos)
        if target is not None and time.monotonic() < until:
            pos = [p + 0.3 * (t - p) for p, t in zip(pos, target, strict=True)]
        velocity = [(p - b) / policy["control_dt"] for p, b in zip(pos, before, strict=True)]
        # Refused connections mean that nobody listens yet, or no more.
        with suppress(ConnectionRefusedError):
            link.send(pack(STATE, sequence, crc, joints, root + pos + velocity))
        sequence, tick = sequence + 1, time.monotonic() + policy["control_dt"]
        while (left := tick - time.monotonic()) > 0.0:
            link.settimeout(left)
            packet = None
            with suppress(TimeoutError, ConnectionRefusedError):
                packet = unpack(link.recv(65536), crc, joints)
            if packet is not None and packet[0] == REFUSAL:
                sys.exit("another robot is locked in")
            if packet is not None and packet[0] == TARGET and packet[2] > newest:
                _, mode, newest, (valid, *values) = packet
                target, until = values[:joints] if mode != DAMPING else None, time.monotonic() + valid


if __name__ == "__main__":
    main(*sys.argv[1:4])
