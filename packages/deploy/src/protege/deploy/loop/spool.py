"""A file that a thread of its own appends to, so that a slow disk does not delay the control loop."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

BUFFER_BYTES = 1 << 20  # written to the disk together
MAX_WAITING_BYTES = 1 << 28  # of rows that are not written yet


class Spool:
    """Appends rows to a new file.

    Args:
        path: of the file.
        failed: called once, from the thread, with the error that ends the writing. Rows that come later are lost.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, path: Path, failed: Callable[[OSError], None]) -> None:
        self._file, self._failed = path.open("wb", buffering=BUFFER_BYTES), failed
        self._rows = SimpleQueue[bytes | None]()
        self._thread = threading.Thread(target=self._append, name="recorder", daemon=True)
        self._thread.start()

    def write(self, row: bytes) -> None:
        """Append a row, without waiting for the disk. All rows are of one size.

        Raises:
            OSError: the disk is so slow that too many rows are waiting.
        """
        if len(row) * self._rows.qsize() > MAX_WAITING_BYTES:
            raise OSError(errno.EBUSY, "the disk is too slow")
        self._rows.put(row)

    def close(self) -> None:
        """Write what is waiting.

        Raises:
            OSError: the last rows do not fit.
        """
        self._rows.put(None)
        self._thread.join()
        self._file.close()

    def _append(self) -> None:
        try:
            while (row := self._rows.get()) is not None:
                self._file.write(row)
        except OSError as error:
            self._failed(error)
