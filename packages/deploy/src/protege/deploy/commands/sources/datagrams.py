"""The text in the datagrams between a commander and a run: JSON, or with a shared key a signature and JSON."""

import json
from typing import Any

from ...network.keys import is_signed, signature

MAX_JSON = 8192  # bytes
SIGNED_PREFIX = b"PRTG2 "
"""Of a signed datagram; 2 is the version. Then 64 hexadecimal digits, a space, and JSON."""
_DIGITS = 64
_SIGNED_HEADER_BYTES = len(SIGNED_PREFIX) + _DIGITS + 1
MAX_BYTES = _SIGNED_HEADER_BYTES + MAX_JSON
_KEYS = {"sequence", "order", "stop", "session"}


def pack(message: dict[str, Any], key: bytes | None) -> bytes:
    """A datagram."""
    text = json.dumps(message).encode()
    return text if key is None else SIGNED_PREFIX + signature(key, text).hex().encode() + b" " + text


def parse(data: bytes, key: bytes | None) -> dict[str, Any] | str:
    """The message in a datagram, or why it is invalid: `size`, `signature`, `json` or `sequence`. Cheap checks come first."""
    if len(data) > MAX_JSON + (_SIGNED_HEADER_BYTES if key else 0):
        return "size"
    if key is not None:
        if (
            not data.startswith(SIGNED_PREFIX)
            or len(data) < _SIGNED_HEADER_BYTES
            or data[_SIGNED_HEADER_BYTES - 1 : _SIGNED_HEADER_BYTES] != b" "
        ):
            return "signature"
        # Invalid digits count as a wrong signature.
        if not is_signed(key, data[_SIGNED_HEADER_BYTES:], _unhex(data[len(SIGNED_PREFIX) : _SIGNED_HEADER_BYTES - 1])):
            return "signature"
        data = data[_SIGNED_HEADER_BYTES:]
    if not data.startswith(b"{"):
        return "json"
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return "json"
    return _checked(message)


def _checked(message: Any) -> dict[str, Any] | str:
    if not isinstance(message, dict) or set(message) - _KEYS or not isinstance(message.get("stop", False), bool):
        return "json"
    sequence = message.get("sequence")
    if type(sequence) is not int or not 0 <= sequence < 2**53:
        return "sequence"
    return message


def _unhex(digits: bytes) -> bytes:
    try:
        return bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        return b""
