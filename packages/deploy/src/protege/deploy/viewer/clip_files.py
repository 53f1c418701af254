"""Clip files that the page is given: dropped onto it, or chosen by a button. The browser gives their contents, no paths."""

import re
import shlex
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from ..errors import DeployError
from ..motions.file_kinds import IMPORT, NPY, SNIFFED, UNPACK, file_kind

LARGEST = 256 << 20
"""Bytes that a clip may have: twenty minutes of a humanoid at 120 frames a second are 90 MB."""
LABEL, HINT = "open a clip file", "A clip (.npy) of this robot; it may also be dropped onto the page"
DROP = """<img src="data:," style="display: none" onerror="
if (!window.protegeDrop) {
  window.protegeDrop = true;
  window.addEventListener('dragover', event => event.preventDefault());
  window.addEventListener('drop', event => {
    const input = document.querySelector('input[type=file]');
    if (!input || !event.dataTransfer.files.length) return;
    event.preventDefault();
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  });
}">"""
"""Hands a file that is dropped anywhere on the page to the button: viser's own page takes no drops. A picture that cannot be
loaded runs it, since scripts in HTML that is added later are not run."""


class ClipFiles:
    """Keeps the clips of a page as files as long as it lives; they are gone with it."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="protege-viewer-")
        self._count = 0

    def take(self, name: str, contents: bytes, robot: str) -> Path:
        """A file with these contents.

        Args:
            name: as the browser calls the file; nothing is written by this name as it is.
            contents: of the file.
            robot: whose clips are played.

        Raises:
            DeployError: it is no clip; a motion of another format is told how it becomes one.
        """
        called = PurePath(name.replace("\\", "/")).name[-100:]
        if not contents.startswith(NPY) or b"root_pos_w" not in contents[:SNIFFED]:
            kind = file_kind(contents[:SNIFFED], called)
            command = f"protege sim motions import {shlex.quote(called)} --robot {robot}"
            remedy = f"Import it: {command}" if kind.remedy in (IMPORT, UNPACK) else kind.remedy
            raise DeployError(f"{called} is {kind.words}, no clip of {robot}", remedy)
        if len(contents) > LARGEST:
            raise DeployError(f"{called} is larger than {LARGEST >> 20} MB", "Cut it into several clips")
        self._count += 1
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePath(called).stem).strip("._-") or "clip"
        folder = Path(self._folder.name, str(self._count))  # two files may have one name
        folder.mkdir()
        file = folder / f"{stem}.npy"
        file.write_bytes(contents)
        return file

    def close(self) -> None:
        """Delete them."""
        self._folder.cleanup()
