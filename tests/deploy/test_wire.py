"""Packets, byte by byte."""

import hmac
import struct
import zlib

import numpy as np
import pytest
from fakes import STANDING, state_packet
from hypothesis import given
from hypothesis import strategies as st

from protege.deploy.interface import MEASURED_FIELDS, Mode
from protege.deploy.network.endpoint import out_of_order
from protege.deploy.network.wire import SEQUENCE_MODULUS, Codec, MalformedError, PacketKind

NAMES = ["knee", "hip"]
CODEC = Codec(NAMES)
PACKET = state_packet(CODEC, 7, 1.5, STANDING)


def test_a_state_packet_matches_the_documented_layout() -> None:
    numbers = struct.pack("<17f", 0.0, 0.0, 0.9, 1.0, 0.0, 0.0, 0.0, *[0.0] * 6, 0.5, -0.25, 0.0, 0.0)
    head = b"PRTG" + struct.pack("<HBBIIdHH", 1, 1, 0, 7, zlib.crc32(b"knee,hip"), 1.5, 2, 68)
    assert head + numbers + struct.pack("<I", zlib.crc32(head + numbers)) == PACKET
    assert len(PACKET) == 28 + 4 * (13 + 2 * 2) + 4 == CODEC.sizes[PacketKind.STATE]


def test_a_target_packet_matches_the_documented_layout() -> None:
    values = [np.array(0.1), np.array([1.0, 2.0]), np.array([800.0, 500.0]), np.array([80.0, 50.0])]
    packet = CODEC.pack(PacketKind.TARGET, 2**32 + 3, 2.0, values, Mode.DAMPING)
    head = b"PRTG" + struct.pack("<HBBIIdHH", 1, 2, 1, 3, zlib.crc32(b"knee,hip"), 2.0, 2, 28)
    numbers = struct.pack("<7f", 0.1, 1.0, 2.0, 800.0, 500.0, 80.0, 50.0)
    assert packet == head + numbers + struct.pack("<I", zlib.crc32(head + numbers))
    assert len(packet) == 28 + 4 * (1 + 3 * 2) + 4
    got = CODEC.unpack(packet)
    assert (got.kind, got.mode, got.sequence, got.time) == (PacketKind.TARGET, Mode.DAMPING, 3, 2.0)
    np.testing.assert_array_equal(got.values, np.array([0.1, 1.0, 2.0, 800.0, 500.0, 80.0, 50.0], np.float32))


def test_a_refusal_has_no_payload() -> None:
    assert len(CODEC.pack(PacketKind.REFUSAL, 0, 0.0, [])) == 32


@given(st.lists(st.floats(width=32), min_size=17, max_size=17), st.integers(0, 2**32 - 1))
def test_unpack_inverts_pack(numbers: list[float], sequence: int) -> None:
    packet = CODEC.pack(PacketKind.STATE, sequence, 0.25, [np.array(numbers, np.float32)])
    reading = CODEC.reading(CODEC.unpack(packet))
    assert reading.stamp == sequence and reading.joint_vel.shape == (2,)
    joined = np.concatenate([getattr(reading, name) for name in MEASURED_FIELDS])
    np.testing.assert_array_equal(joined, np.array(numbers, np.float32))


def changed(start: int, new: bytes, *, checksum: bool = True) -> bytes:
    """The packet with some bytes replaced, and the checksum made to fit."""
    body = (PACKET[:start] + new + PACKET[start + len(new) :])[:-4]
    return body + (struct.pack("<I", zlib.crc32(body)) if checksum else PACKET[-4:])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "size"),
        (PACKET[:31], "size"),
        (PACKET[:-1], "size"),
        (PACKET + b"\0", "size"),
        (PACKET * 20, "size"),
        (changed(0, b"HTTP"), "magic"),
        (changed(4, struct.pack("<H", 2)), "version"),
        (changed(6, b"\x04"), "kind"),
        (changed(7, b"\x02"), "kind"),
        (changed(12, b"\0\0\0\0"), "joints"),
        (changed(24, struct.pack("<H", 3)), "joints"),
        (changed(26, struct.pack("<H", 64)), "size"),
        (changed(40, b"\x01", checksum=False), "checksum"),
        (state_packet(Codec(["hip", "knee"]), 0, 0.0, STANDING), "joints"),  # the same joints in another order
    ],
)
def test_an_invalid_packet_raises_its_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=f"^{reason}$"):
        CODEC.unpack(data)


@given(st.integers(0, len(PACKET) * 8 - 1))
def test_every_flipped_bit_is_detected(bit: int) -> None:
    flipped = bytearray(PACKET)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedError):
        CODEC.unpack(bytes(flipped))


@pytest.mark.parametrize(
    ("sequence", "last", "newer"),
    [
        (1, 0, True),
        (0, 0, False),
        (0, 1, False),
        (2, 2**32 - 1, True),
        (2**32 - 1, 2, False),
        (2**31 - 1, 0, True),
        (2**31, 0, False),
    ],
)
def test_sequences_wrap_around(sequence: int, last: int, newer: bool) -> None:
    expected = "" if newer else "duplicate" if sequence == last else "old"
    assert out_of_order(sequence, last, SEQUENCE_MODULUS, silent=True) == expected


# With a key --------------------------------------------------------------------------------------------------------------

KEY = b"sixteen bytes of key"


def test_a_signed_state_matches_the_documented_layout() -> None:
    codec = Codec(NAMES, KEY)
    codec.peer_session = 99
    numbers = struct.pack("<17f", 0.0, 0.0, 0.9, 1.0, 0.0, 0.0, 0.0, *[0.0] * 6, 0.5, -0.25, 0.0, 0.0)
    head = b"PRTG" + struct.pack("<HBBIIdHH", 2, 1, 0, 7, zlib.crc32(b"knee,hip"), 1.5, 2, 68)
    body = head + struct.pack("<QQ", codec.session, 99) + numbers
    packet = state_packet(codec, 7, 1.5, STANDING)
    assert packet == body + hmac.digest(KEY, body, "sha256")
    assert len(packet) == 28 + 16 + 4 * (13 + 2 * 2) + 32 == codec.sizes[PacketKind.STATE]


def test_a_signed_packet_shows_whether_it_contains_our_session() -> None:
    ours, theirs = Codec(NAMES, KEY), Codec(NAMES, KEY)
    assert not ours.unpack(state_packet(theirs, 0, 0.0, STANDING)).answers
    theirs.peer_session = ours.session
    got = ours.unpack(state_packet(theirs, 1, 0.0, STANDING))
    assert got.answers and got.session == theirs.session != ours.session
    assert ours.unpack(theirs.pack(PacketKind.GREETING, 0, 0.0, [])).kind is PacketKind.GREETING


def test_every_changed_byte_of_a_signed_packet_is_detected() -> None:
    ours, theirs = Codec(NAMES, KEY), Codec(NAMES, KEY)
    packet = state_packet(theirs, 7, 1.5, STANDING)
    for place in range(len(packet)):
        with pytest.raises(MalformedError):
            ours.unpack(packet[:place] + bytes([packet[place] ^ 1]) + packet[place + 1 :])


def test_another_key_and_a_missing_key_are_refused() -> None:
    plain, signed = Codec(NAMES), Codec(NAMES, KEY)
    target = [np.zeros(7)]
    with pytest.raises(MalformedError, match="signature"):
        signed.unpack(Codec(NAMES, b"another key of bytes").pack(PacketKind.TARGET, 0, 0.0, target))
    with pytest.raises(MalformedError, match="version"):
        signed.unpack(PACKET + bytes(44))
    with pytest.raises(MalformedError, match="version"):
        plain.unpack(signed.pack(PacketKind.REFUSAL, 0, 0.0, []))
    with pytest.raises(MalformedError, match="size"):  # longer than any packet without a key
        plain.unpack(signed.pack(PacketKind.TARGET, 0, 0.0, target) + bytes(4))


def test_jumps_are_bounded_across_the_wrap_around() -> None:
    for sequence, last, reason in ((1000, 0, ""), (1001, 0, "jump"), (5, 2**32 - 5, ""), (2**31, 5, "jump")):
        assert out_of_order(sequence, last, SEQUENCE_MODULUS, silent=False) == reason
