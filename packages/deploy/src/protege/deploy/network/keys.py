"""The key that two programs share, so that each knows whose packets it takes: HMAC-SHA256 (RFC 2104)."""

import hashlib
import hmac
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import DeployError

logger = logging.getLogger("protege.deploy")

VARIABLE = "PROTEGE_UDP_KEY"
SHORTEST, LONGEST = 16, 4096  # bytes
TAG_BYTES = hashlib.sha256().digest_size
MAKE_ONE = "Make one: (umask 077; openssl rand -hex 32 > udp.key)"


def load_key(file: str | None, environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The shared key, without white space at its ends: of a file, else of the environment variable `VARIABLE`, else None.

    A key never comes from the command line, which every user of a machine can read.

    Raises:
        DeployError: the file cannot be read, or the key is too short or too long.
    """
    if file is None:
        given, name = environment.get(VARIABLE, "").encode(), f"the environment variable {VARIABLE}"
        return _checked(given, name) if given else None
    path = Path(file)
    try:
        with path.open("rb") as opened:
            given, mode = opened.read(LONGEST + 1), os.fstat(opened.fileno()).st_mode
    except OSError as error:
        raise DeployError(f"cannot read the key file {path} ({error.strerror})", MAKE_ONE) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        logger.warning("other users may read the key file %s: chmod 600 %s", path, path)
    return _checked(given, f"the key file {path}")


def tag(key: bytes, message: bytes | memoryview) -> bytes:
    """HMAC-SHA256 of a message, 32 bytes."""
    return hmac.digest(key, message, "sha256")


def is_tagged(key: bytes, message: bytes | memoryview, given: bytes | memoryview) -> bool:
    """Whether the message was tagged with this key; the time that this takes says nothing about the tag."""
    return hmac.compare_digest(tag(key, message), given)


def _checked(given: bytes, name: str) -> bytes:
    key = given.strip()
    if not SHORTEST <= len(key) <= LONGEST:
        raise DeployError(f"{name} holds {len(key)} bytes, not {SHORTEST} to {LONGEST}", MAKE_ONE)
    return key
