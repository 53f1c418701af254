"""Lets core read motion files of other formats, through an entry point. Converted clips are cached.

Slow imports are deferred until a file is converted, because core calls `accepts` for each clip that it loads.
"""

import hashlib
import json
import logging
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from protege.core.errors import UserError
from protege.core.files import write_atomically
from protege.core.motions import Clip, read_clip, save_clip
from protege.core.robots.plain import to_plain
from protege.core.robots.robot import Robot

from .motions.containers import may_be_motion

INDEX_FILE = "index.json"
"""Written last: a folder of the cache without this file is incomplete."""

PREFIX_LENGTH = 5
"""Characters before a clip's name in the cache, which preserve the order of a file's clips."""

log = logging.getLogger(__name__)


class MotionFiles:
    """Implements `protege.core.motions.conversion.Converter`."""

    def accepts(self, first: bytes) -> bool:
        """Whether a file begins like a motion file and is not a clip."""
        return may_be_motion(first)

    def robot(self, file: Path) -> str:
        """The robot whose joints a file has; empty for the motion of a skeleton.

        Raises:
            UserError: it is not a motion.
        """
        from .motions.identity import robot_of
        from .motions.importer import motions_in
        from .motions.readers.options import Options
        from .motions.source import JointMotion

        with _options_named(file, "NAME"):
            found = motions_in(_contents(file), str(file), file.stem, Options())
        return robot_of(found[0]) if found and isinstance(found[0], JointMotion) else ""

    def clips(self, file: Path, robot: Robot) -> Sequence[Clip]:
        """The clips of a file for a robot, from the cache if it has been converted before.

        Raises:
            UserError: it cannot be converted without options; the remedy is the command that accepts them.
        """
        contents = _contents(file)
        folder = cache_folder() / _key(contents, robot)
        try:
            index = json.loads((folder / INDEX_FILE).read_text())
            clips = [replace(read_clip(folder / name, robot), name=name[PREFIX_LENGTH:-4]) for name in index["clips"]]
            remarks, doubts = index["remarks"], index["warnings"]
        except (OSError, ValueError, KeyError, TypeError, UserError):  # missing or incomplete
            clips, remarks, doubts = self._convert(contents, file, robot, folder)
        for remark in remarks:
            log.info("%s: %s", file.name, remark)
        for doubt in doubts:
            log.warning("%s: %s", file.name, doubt)
        return clips

    def _convert(
        self, contents: bytes, file: Path, robot: Robot, folder: Path
    ) -> tuple[list[Clip], list[str], list[str]]:
        from .motions.importer import clips_in
        from .motions.readers.options import Options

        with _options_named(file, robot.name):
            found = list(clips_in(contents, str(file), file.stem, Options(), robot))
        remarks = [remark for motion, _ in found for remark in motion.remarks]
        doubts = [str(warning) for motion, _ in found for warning in motion.warnings]
        names = [f"{number:0{PREFIX_LENGTH - 1}d}_{clip.name}.npy" for number, (_, clip) in enumerate(found)]
        index = {
            "file": file.name,
            "formats": [motion.format for motion, _ in found],
            "robot": robot.name,
            "clips": names,
        }
        try:
            for name, (_, clip) in zip(names, found, strict=True):
                save_clip(folder / name, clip, robot)
            text = json.dumps(index | {"remarks": remarks, "warnings": doubts}, indent=2)
            write_atomically(folder / INDEX_FILE, lambda handle: handle.write(text.encode()))
        except UserError as error:
            log.warning("the clips of %s are not cached: %s", file.name, error)
        # The caller checks the clips itself and logs their warnings.
        return [replace(clip, warnings=()) for _, clip in found], remarks, doubts


CONVERTER = MotionFiles()


@contextmanager
def _options_named(file: Path, robot: str) -> Iterator[None]:
    """Extend errors whose remedy is an option by the command that has this option."""
    try:
        yield
    except UserError as error:
        if "--" not in error.remedy:
            raise
        command = f"protege sim motions import {shlex.quote(str(file))} --robot {robot}"
        raise UserError(error.problem, f"{error.remedy}. Options are for: {command}") from error


def cache_folder() -> Path:
    """Folder of converted clips: `$PROTEGE_CACHE`, or `protege` in the user's cache folder; it may be deleted at any time."""
    own = os.environ.get("PROTEGE_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "protege"
    return base / "motions"


def _key(contents: bytes, robot: Robot) -> str:
    """A hash of everything that the clips depend on: the file, the robot, and the converter's version and source files."""
    from .motions.body_map import RETARGET_FILE
    from .robots import file_beside

    digest = hashlib.sha256(contents)
    digest.update(json.dumps(to_plain(robot), sort_keys=True).encode())
    digest.update(version("protege-sim").encode())
    for path in sorted(_files(files(__package__).joinpath("motions")), key=lambda path: path.name):
        digest.update(path.name.encode() + path.read_bytes())
    if follows := file_beside(robot, RETARGET_FILE):
        digest.update(follows.read_bytes())
    return digest.hexdigest()


def _files(folder: Traversable) -> list[Traversable]:
    """Code and maps in a folder and its subfolders."""
    inside = list(folder.iterdir())
    own = [path for path in inside if path.name.endswith((".py", ".yaml"))]
    return own + [file for path in inside if path.is_dir() and path.name != "__pycache__" for file in _files(path)]


def _contents(file: Path) -> bytes:
    from .motions.readers.limits import MAX_BYTES

    try:
        with file.open("rb") as opened:
            contents = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error})", "Check the file") from error
    if len(contents) > MAX_BYTES:
        raise UserError(f"{file} is larger than {MAX_BYTES >> 20} MB", "Import a part of it")
    return contents
