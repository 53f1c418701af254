"""Records as CDR, DDS's encoding (OMG DDS-XTypes 7.4, XCDR version 1), and the checksum of Unitree's messages.

CDR aligns each number to its size, as C does, but does not pad the end of a struct: what follows it may begin earlier.
"""

import zlib
from functools import cache

import numpy as np

from .messages import MessageKind

LITTLE_ENDIAN = b"\x00\x01\x00\x00"
"""The header of a message in plain CDR, version 1."""
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class MalformedError(Exception):
    """An invalid message; its text is the reason in a word or two."""


def encode(message: np.ndarray, kind: MessageKind) -> bytes:
    """Encode a record as CDR; its checksum is filled in."""
    if kind.checked:
        message["crc"] = checksum(message)
    struct, places, size = _places(kind.dtype)
    wire = np.zeros(size, np.uint8)
    wire[places] = np.frombuffer(message.tobytes(), np.uint8)[struct]
    return LITTLE_ENDIAN + wire.tobytes()


def decode(data: bytes, kind: MessageKind) -> np.ndarray:
    """The record in a message, of shape ().

    Raises:
        MalformedError: another size or encoding, or a wrong checksum.
    """
    struct, places, size = _places(kind.dtype)
    head, body = data[: len(LITTLE_ENDIAN)], data[len(LITTLE_ENDIAN) :]
    # The last two bits of the header are the number of padding bytes at the end.
    if len(head) < len(LITTLE_ENDIAN) or head[:3] != LITTLE_ENDIAN[:3]:
        raise MalformedError("encoding")
    if not size <= len(body) <= size + 3:
        raise MalformedError("size")
    record = np.zeros(kind.dtype.itemsize, np.uint8)
    record[struct] = np.frombuffer(body, np.uint8, count=size)[places]
    message = record.view(kind.dtype)[0:1].reshape(())
    if kind.checked and int(message["crc"]) != checksum(message):
        raise MalformedError("checksum")
    return message


def checksum(message: np.ndarray) -> int:
    """CRC-32 of all words of a record but the last: polynomial 0x04C11DB7, from the highest bit of each word down.

    It begins with all ones and is not inverted at the end. zlib's CRC processes each byte from its lowest bit up, so bytes and bits
    are reversed before and after.
    """
    words = np.frombuffer(message.tobytes(), "<u4")[:-1].astype(">u4").tobytes()
    mirrored = zlib.crc32(words.translate(_REVERSED)) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


@cache
def _places(dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, int]:
    """Offsets of each byte that is not padding, in the C struct and in CDR; and the size in CDR."""
    pairs, size = _walk(dtype, 0, 0)
    struct, wire = np.array(pairs).T
    return struct, wire, size


def _walk(dtype: np.dtype, struct: int, wire: int) -> tuple[list[tuple[int, int]], int]:
    """Pairs of offsets of a type that begins at `struct` and, at the earliest, at `wire`; and its end in CDR."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        pairs = []
        for index in range(int(np.prod(shape))):
            more, wire = _walk(base, struct + index * base.itemsize, wire)
            pairs += more
        return pairs, wire
    if dtype.fields is not None:
        pairs = []
        for member, offset, *_ in dtype.fields.values():
            more, wire = _walk(member, struct + offset, wire)
            pairs += more
        return pairs, wire
    size = dtype.itemsize
    wire = -(-wire // size) * size
    return [(struct + byte, wire + byte) for byte in range(size)], wire + size
