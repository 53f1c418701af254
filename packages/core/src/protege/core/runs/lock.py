"""Locks of folders, so that only one process at a time works in a folder.

The lock is `flock` on `FOLDER/.lock`. The system releases it when its process ends for any reason, so that no lock has to be
removed by hand. The file names its owner for error messages of other processes.
"""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from ..errors import UserError

LOCK_FILE = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of `flock` on a file system without locks."""
MAX_TRIES = 100


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. The folder is created if it is missing, and removed again if it stays empty.

    Raises:
        UserError: another process holds the lock (the message names its pid), or the folder is not writable.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    handle = _acquire(folder)
    try:
        yield
    finally:
        if _is_file(handle, folder / LOCK_FILE):
            # Before the lock is released: a process that has opened the file meanwhile notices this and tries again.
            (folder / LOCK_FILE).unlink(missing_ok=True)
        os.close(handle)
        with suppress(OSError):  # folders that are not empty stay
            for path in made:
                path.rmdir()


def _acquire(folder: Path) -> int:
    """Acquire the lock. Returns the handle of its file."""
    for _ in range(MAX_TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # the last owner removed the folder between the two calls
        except OSError as error:
            raise UserError(f"cannot write {folder} ({error.strerror})", "Choose another folder") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner, pid = _owner(handle)
            os.close(handle)
            end = f"or end that one: kill {pid}" if pid else "or end that one"
            raise UserError(f"{folder} is in use by {owner}", f"Wait until it is done, {end}") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise UserError(f"cannot lock {folder} ({error.strerror})", "Choose another folder") from error
            click.echo(f"warning: {folder} is on a file system without locks: start one run at a time there", err=True)
            return handle
        if _is_file(handle, folder / LOCK_FILE):
            _sign(handle)
            return handle
        os.close(handle)  # the last owner removed the file after it was opened here
    raise UserError(f"cannot lock {folder}: other processes keep removing it", "Choose another folder")


def _is_file(handle: int, path: Path) -> bool:
    """Whether an open file is still the file at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _sign(handle: int) -> None:
    """Write the lock's owner to its file."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):  # on a full disk the lock works without an owner's name
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)


def _owner(handle: int) -> tuple[str, int]:
    """Description of the lock's owner and its pid; 0 if it has not been written yet."""
    for _ in range(MAX_TRIES):
        try:
            owner = json.loads(os.pread(handle, 1000, 0))
            return f"process {owner['pid']} on {owner['host']}, since {owner['started']}", owner["pid"]
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.005)  # the owner has just locked the file and not written to it yet
    return "another process", 0
