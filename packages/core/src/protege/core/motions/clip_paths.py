"""Where clips are found: files, folders, patterns, and the clips that packages ship.

numpy's and the standard library's imports alone: the robot's side shares this file (see docs/architecture.md).
"""

import glob
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path("data", "motions")
"""Where imported clips are written, and the prefix under which documents name the shipped ones."""

WHERE = "Give a .npy file, a folder of them, a pattern ('data/motions/*.npy'), or a name that `protege sim motions list` shows"


class ClipError(Exception):
    """A clip that cannot be found, read or used. Core and deploy turn it into their own one-line error.

    Attributes:
        problem: what is wrong, naming the file and the field or frame.
        remedy: what to do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem, self.remedy = problem, remedy


def find_clips(value: str | Path) -> list[Path]:
    """The files that one value of `--motion-file` names.

    Args:
        value: a file; a folder, of which all `*.npy` are taken in order of their names; a pattern with `*`, `?` or `[...]`;
            or the name of a shipped clip, bare or in `data/motions`. A file on disk wins over a shipped one of its name.

    Raises:
        ClipError: nothing is there.
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
    """One file: `path` itself, the one of that name in `data/motions`, or a shipped one; no package is imported for it.

    Raises:
        ClipError: nothing is there, or it is a folder.
    """
    local = [path, FOLDER / path] if path.parent == Path() else [path]
    found = next((place for place in local if place.is_file()), None) or _shipped(path)
    if found is not None:
        return found
    if path.is_dir():
        raise ClipError(f"{path} is a folder", "Give one of the .npy files in it")
    raise ClipError(f"no clip at {path}", "Give each clip its own --motion-file" if "," in str(path) else WHERE)


def _shipped(path: Path) -> Path | None:
    """A shipped clip: elsewhere than in `data/motions`, another one was meant."""
    if path.parent.parts[-2:] not in ((), FOLDER.parts):
        return None
    for entry in entry_points(group="protege.motions"):
        top, *rest = entry.value.split(".")
        spec = find_spec(top)
        for place in (spec and spec.submodule_search_locations) or ():
            shipped = Path(place, *rest, path.name)
            if shipped.is_file():
                return shipped
    return None


def _some(paths: list[Path], problem: str) -> list[Path]:
    if not paths:
        raise ClipError(problem, WHERE)
    return paths
