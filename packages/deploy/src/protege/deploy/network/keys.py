"""The shared key with which two programs sign their packets: HMAC-SHA256 (RFC 2104)."""

import hashlib
import hmac
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import DeployError

logger = logging.getLogger("protege.deploy")

KEY_VARIABLE = "PROTEGE_UDP_KEY"
MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 4096  # bytes
TAG_BYTES = hashlib.sha256().digest_size
MAKE_KEY = "Make one: (umask 077; openssl rand -hex 32 > udp.key)"


def load_key(file: str | None, environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The shared key, without white space at its ends: from a file, else from the environment variable `KEY_VARIABLE`, else None.

    A key never comes from the command line, because every user of a machine can read that.

    Raises:
        DeployError: the file cannot be read, or the key is too short or too long.
    """
    if file is None:
        given, name = environment.get(KEY_VARIABLE, "").encode(), f"the environment variable {KEY_VARIABLE}"
        return _checked(given, name) if given else None
    path = Path(file)
    try:
        with path.open("rb") as opened:
            given, mode = opened.read(MAX_KEY_BYTES + 1), os.fstat(opened.fileno()).st_mode
    except OSError as error:
        raise DeployError(f"cannot read the key file {path} ({error.strerror})", MAKE_KEY) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("other users may read the key file %s: chmod 600 %s", path, path)
    return _checked(given, f"the key file {path}")


def signature(key: bytes, message: bytes | memoryview) -> bytes:
    """HMAC-SHA256 of a message, 32 bytes."""
    return hmac.digest(key, message, "sha256")


def is_signed(key: bytes, message: bytes | memoryview, given: bytes | memoryview) -> bool:
    """Whether the signature is that of this key; the duration of the comparison does not depend on it."""
    return hmac.compare_digest(signature(key, message), given)


def _checked(given: bytes, name: str) -> bytes:
    key = given.strip()
    if not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        raise DeployError(f"{name} holds {len(key)} bytes, not {MIN_KEY_BYTES} to {MAX_KEY_BYTES}", MAKE_KEY)
    return key
