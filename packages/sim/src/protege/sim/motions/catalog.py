"""The available clips: those that packages ship, and those in a folder."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from protege.core.errors import UserError
from protege.core.motions import clip_robot, load_clip
from protege.core.motions.clip_paths import FOLDER
from protege.core.plugins import entry_points

from ..robots import default_robot, get_robot

SHIPPED, REPLACES_SHIPPED = "shipped", ", instead of the shipped one"


def find_clips(folder: Path) -> list[tuple[Path, str]]:
    """Files of clips and the location of each: `shipped` or the folder, sorted by name.

    A clip in `data/motions` replaces a shipped one with the same name, as in every command.
    """
    mine = {path.name: path for path in folder.glob("*.npy") if path.is_file()}
    shipped = {
        entry.name: Path(str(entry))
        for point in entry_points(group="protege.motions")
        for entry in files(point.value).iterdir()
        if entry.name.endswith(".npy")
    }
    hidden = mine.keys() & shipped.keys() if folder == FOLDER else set()
    found = [(path, f"{folder}{REPLACES_SHIPPED if name in hidden else ''}") for name, path in mine.items()]
    found += [(path, SHIPPED) for name, path in shipped.items() if name not in hidden]
    return sorted(found, key=lambda one: (one[0].name, one[1]))


def describe(folder: Path, robot: str | None = None) -> list[dict[str, Any]]:
    """For each clip its name, robot, location, path, duration s, frames, mean speed m/s, whether it is cyclic, and its warnings.

    The path is the name by which every command finds the clip. A file that is not a clip has a `problem` instead of the numbers.

    Args:
        robot: only clips of this robot, by name or robot file; None for all robots. A file that does not name its robot counts as a
            clip of this one; a shipped one, or without `robot`, as one of the default robot.

    Raises:
        UserError: there is no such robot.
    """
    chosen = get_robot(robot) if robot else None
    rows: list[dict[str, Any]] = []
    for path, where in find_clips(folder):
        row: dict[str, Any] = {"name": path.name, "where": where, "path": path.name if where == SHIPPED else str(path)}
        try:
            whose = clip_robot(path) or (chosen.name if chosen and where != SHIPPED else default_robot())
            if chosen and whose != chosen.name:
                continue
            clip = load_clip(path, chosen or get_robot(whose))
        except UserError as error:
            rows.append({**row, "problem": str(error)})
            continue
        facts = {"robot": whose, "duration": clip.duration, "frames": len(clip.time), "mean_speed": clip.mean_speed}
        rows.append({**row, **facts, "cyclic": clip.is_cyclic, "warnings": [str(one) for one in clip.warnings]})
    return rows
