"""Films of failed and successful episodes of an evaluation."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from protege.core.motions import Clip
from protege.sim.render import Renderer, webp

from .recording import Recording

FOLDER = "films"
SIZE, FPS, QUALITY = (320, 240), 12.0, 50
MAX_SECONDS = 10.0
"""A film shows the end of a longer failed episode, and the start of a longer successful one."""


def chosen(failed: Sequence[bool], recorded: Sequence[bool], count: int) -> list[int]:
    """The first `count` failed and the first `count` successful ones of the recorded episodes, in turn, a failed one first."""
    indices = [[i for i, x in enumerate(failed) if x == kind and recorded[i]][:count] for kind in (True, False)]
    return [kind[k] for k in range(count) for kind in indices if k < len(kind)]


def film_episodes(
    renderer: Renderer, task: str, recording: Recording, rows: dict[str, Tensor], count: int
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Draw `count` failed and `count` successful episodes.

    Returns:
        the entries of evaluation.json, and the WebP files by their names below the results' folder.
    """
    entries, files = [], {}
    for episode in chosen(rows["failed"].tolist(), recording.recorded(rows).tolist(), count):
        failed = bool(rows["failed"][episode])
        name = f"{FOLDER}/{task.replace('/', '_')}_{episode}_{'failed' if failed else 'succeeded'}.webp"
        motion = recording.motion(rows, episode)
        files[name] = draw(renderer, motion, from_end=failed)
        entries.append({"file": name, "episode": episode, "failed": failed})
    return entries, files


def draw(renderer: Renderer, motion: Clip, *, from_end: bool = False) -> bytes:
    """An animated WebP of a motion, of its last `MAX_SECONDS` or of its first ones."""
    start = max(motion.duration - MAX_SECONDS, 0.0) if from_end else 0.0
    return webp(renderer.play(motion, FPS, start, MAX_SECONDS), FPS, QUALITY)
