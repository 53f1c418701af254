"""What clips there are: those that packages ship, and those in a folder."""

from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

from protege.core.errors import UserError
from protege.core.motions import load_clip
from protege.core.robot import Robot


def find_clips(folder: Path) -> list[tuple[Path, str]]:
    """Files of clips, and where each is: `shipped` or the folder."""
    shipped = [
        Path(str(entry)) for point in entry_points(group="protege.motions") for entry in files(point.value).iterdir()
    ]
    found = [(path, "shipped") for path in shipped] + [(path, str(folder)) for path in folder.glob("*.npy")]
    return sorted((path, where) for path, where in found if path.suffix == ".npy")


def describe(folder: Path, robot: Robot) -> list[dict[str, Any]]:
    """For each clip its name, place, duration s, frames, mean speed m/s and whether it repeats; or its `problem`."""
    rows: list[dict[str, Any]] = []
    for path, where in find_clips(folder):
        row: dict[str, Any] = {"name": path.name, "where": where}
        try:
            clip = load_clip(path, robot)
        except UserError as error:
            rows.append({**row, "problem": str(error)})
            continue
        facts = {"duration": clip.duration, "frames": len(clip.time), "mean_speed": clip.mean_speed}
        rows.append({**row, **facts, "cyclic": clip.is_cyclic})
    return rows
