"""Clip files that users drop onto the page or upload with a button. The browser sends their contents, not their paths."""

import re
import shlex
import shutil
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory, mkdtemp

from ..errors import DeployError
from ..motions.file_kinds import IMPORT, NPY, SNIFFED, UNPACK, file_kind

MAX_CLIP_BYTES = 256 << 20
"""Largest size of a clip: twenty minutes of a humanoid at 120 frames per second are 90 MB."""
UPLOAD_LABEL, UPLOAD_HINT = "open a clip file", "A clip (.npy) of this robot; it may also be dropped onto the page"
DROP_SCRIPT = """<img src="data:," style="display: none" onerror="
if (!window.protegeDrop) {
  window.protegeDrop = true;
  window.addEventListener('dragover', event => event.preventDefault());
  window.addEventListener('drop', event => {
    const input = document.querySelector('input[type=file]');
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    if (!input) return;
    input.files = event.dataTransfer.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  });
}">"""
"""Passes a file that is dropped anywhere on the page to the upload button, since viser's page takes no drops itself. A browser
runs no scripts in HTML that is added later, so the code runs as the error handler of an image that cannot be loaded."""


class ClipFiles:
    """Stores uploaded clips in a temporary folder, which `close` deletes."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="protege-viewer-")

    def take(self, name: str, contents: bytes, robot: str) -> Path:
        """Store a clip.

        Args:
            name: the browser's name of the file. The stored file has a cleaned form of it.
            contents: of the file.
            robot: the name of the robot whose clips the page plays.

        Returns:
            the stored file.

        Raises:
            DeployError: the file is no clip, is too large or cannot be stored. For a motion of another format the remedy is the
                command that imports it.
        """
        called = file_name(name)[-100:]
        if not contents.startswith(NPY) or b"root_pos_w" not in contents[:SNIFFED]:
            kind = file_kind(contents[:SNIFFED], called)
            command = f"protege sim motions import {shlex.quote(called)} --robot {robot}"
            remedy = f"Import it: {command}" if kind.remedy in (IMPORT, UNPACK) else kind.remedy
            raise DeployError(f"{called} is {kind.words}, no clip of {robot}", remedy)
        if len(contents) > MAX_CLIP_BYTES:
            raise DeployError(f"{called} is larger than {MAX_CLIP_BYTES >> 20} MB", "Cut it into several clips")
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", PurePath(called).stem).strip("._-") or "clip"
        try:
            # Each file has a folder of its own, because two files may have the same name.
            file = Path(mkdtemp(dir=self._folder.name), f"{stem}.npy")
            try:
                file.write_bytes(contents)
            except OSError:
                self.discard(file)
                raise
        except OSError as error:
            problem = f"{called} cannot be stored in {self._folder.name} ({error.strerror})"
            raise DeployError(problem, "Free some space there, or set TMPDIR to another folder") from error
        return file

    def discard(self, file: Path) -> None:
        """Delete a file that `take` returned."""
        shutil.rmtree(file.parent, ignore_errors=True)

    def close(self) -> None:
        """Delete all files."""
        self._folder.cleanup()


def file_name(name: str) -> str:
    """The last part of a file's name as a browser sends it. Some send a path, with slashes or backslashes."""
    return PurePath(name.replace("\\", "/")).name
