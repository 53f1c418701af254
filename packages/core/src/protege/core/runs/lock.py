"""A folder in which one process works at a time.

The lock is `flock` on `FOLDER/.lock`. The system frees it when its process ends, however it ends, so that a lock never has to be
removed by hand. The file names its owner for whoever is refused.
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

NAME = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What `flock` says on a file system that has no locks."""
TRIES = 100


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. The folder is made if it is missing, and removed again if nothing was put into it.

    Raises:
        UserError: another process holds it (the message names its pid), or the folder cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    handle = _acquire(folder)
    try:
        yield
    finally:
        if _is_file(handle, folder / NAME):
            (folder / NAME).unlink(
                missing_ok=True
            )  # before it is freed: whoever opened it meanwhile sees that and tries again
        os.close(handle)
        with suppress(OSError):  # one that is not empty stays
            for path in made:
                path.rmdir()


def _acquire(folder: Path) -> int:
    """A handle of the lock's file that holds the lock."""
    for _ in range(TRIES):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue  # its last owner removed the folder between the two calls
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
        if _is_file(handle, folder / NAME):
            _sign(handle)
            return handle
        os.close(handle)  # its last owner removed the file after it was opened here
    raise UserError(f"cannot lock {folder}: it comes and goes", "Choose another folder")


def _is_file(handle: int, path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except OSError:
        return False


def _sign(handle: int) -> None:
    """Write who holds the lock."""
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):  # on a full disk the lock holds without a name
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(owner).encode(), 0)


def _owner(handle: int) -> tuple[str, int]:
    """Who holds the lock, in words, and its pid; 0 if it has not signed yet."""
    for _ in range(TRIES):
        try:
            owner = json.loads(os.pread(handle, 1000, 0))
            return f"process {owner['pid']} on {owner['host']}, since {owner['started']}", owner["pid"]
        except (OSError, ValueError, KeyError, TypeError):
            time.sleep(0.005)  # it locked the file this moment
    return "another process", 0
