"""Cached SHA-256 of many files. A file is read again only if its size or modification time has changed."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import UserError
from ..files import write_atomically
from ..progress import Progress
from ..threads import available_cores

CACHE_FILE = "digests.json"


def cache_folder() -> Path:
    """Folder of cached libraries and digests, in `PROTEGE_CACHE` or in `protege` in the user's cache folder."""
    if own := os.environ.get("PROTEGE_CACHE"):
        return Path(own) / "motions"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "protege" / "motions"


def sha256(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})", "Is it a clip?") from error


def digests(paths: Sequence[Path]) -> list[str]:
    """SHA-256 of each file. Results are cached if the cache folder is writable.

    Raises:
        UserError: a file cannot be read.
    """
    known, keys = _known(), [_key(path) for path in paths]
    new = [(path, key) for path, key in zip(paths, keys, strict=True) if known.get(key[0], [])[:1] != [key[1]]]
    if new:
        with ThreadPoolExecutor(available_cores()) as pool, Progress("files read", len(new)) as progress:
            for done, ((_, key), digest) in enumerate(
                zip(new, pool.map(sha256, [path for path, _ in new]), strict=True)
            ):
                known[key[0]] = [key[1], digest]
                progress.at(done)
        try:
            text = json.dumps(known).encode()
            write_atomically(cache_folder() / CACHE_FILE, lambda file: file.write(text))
        except UserError:  # the next call is only slower without a cache
            pass
    return [known[key][1] for key, _ in keys]


def _known() -> dict[str, list[str]]:
    """For each path, the file's size and modification time, and its digest."""
    try:
        data = json.loads((cache_folder() / CACHE_FILE).read_bytes())
        return data if isinstance(data, dict) else {}
    except (OSError, ValueError):
        return {}


def _key(path: Path) -> tuple[str, str]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})", "Is it a clip?") from error
    return os.path.abspath(path), f"{stat.st_size}-{stat.st_mtime_ns}"
