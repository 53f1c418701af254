"""Finds clips: files, folders, patterns, and the clips that packages ship.

Only the standard library is used, because `protege.deploy` shares this file (see docs/architecture.md).
"""

import glob
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("data", "motions")
"""Folder of imported clips, and optional prefix of the names of shipped ones."""

WHERE = "Give a .npy file, a folder of them, a pattern ('data/motions/*.npy'), or a name that `protege sim motions list` shows"


class ClipError(Exception):
    """A clip that cannot be found, read or used. Core and deploy convert it to their own one-line error.

    Attributes:
        problem: what is wrong, with the file and the field or frame.
        remedy: how to fix it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


def find_clips(value: str | Path) -> list[Path]:
    """The files that one value of `--motion-file` refers to.

    Args:
        value: a file; a folder, for all its `*.npy` sorted by name; a pattern with `*`, `?` or `[...]`; or the name of a shipped
            clip, bare or in `data/motions`. A file on disk takes precedence over a shipped one with the same name.

    Raises:
        ClipError: there is no such file.
    """
    text = str(value)
    if not text.strip() or (isinstance(value, Path) and text == "."):
        raise ClipError("--motion-file is empty", WHERE)
    path = Path(text)
    if path.is_dir():
        return _some(sorted(path.glob("*.npy")), f"the folder {text} holds no .npy file")
    if glob.has_magic(text) and not path.exists():
        names = sorted(glob.glob(text, recursive=True))
        return _some([Path(name) for name in names if Path(name).is_file()], f"no file matches {text}")
    return [find_clip(path)]


def find_clip(path: Path) -> Path:
    """Find one file: `path` itself, the one of this name in `data/motions`, or a shipped one. No package is imported.

    Raises:
        ClipError: there is no such file, or it is a folder.
    """
    local = [path, FOLDER / path] if path.parent == Path() else [path]
    found = next((place for place in local if place.is_file()), None) or _shipped(path)
    if found is not None:
        return found
    if path.is_dir():
        raise ClipError(f"{path} is a folder", "Give one of the .npy files in it")
    raise ClipError(f"no clip at {path}", "Give each clip its own --motion-file" if "," in str(path) else WHERE)


def _shipped(path: Path) -> Path | None:
    """A shipped clip, if `path` is a bare name or in `data/motions`."""
    if path.parent.parts[-2:] not in ((), FOLDER.parts):
        return None
    return next((place / path.name for place in _packages() if (place / path.name).is_file()), None)


@cache
def _packages() -> list[Path]:
    """The folders of installed packages that ship clips. Listing them takes a quarter of the viewer's start for five clips."""
    folders = list[Path]()
    for entry in entry_points(group="protege.motions"):
        top, *rest = entry.value.split(".")
        spec = find_spec(top)
        folders += [Path(place, *rest) for place in (spec and spec.submodule_search_locations) or ()]
    return folders


def _some(paths: list[Path], problem: str) -> list[Path]:
    if not paths:
        raise ClipError(problem, WHERE)
    return paths
