"""A clip as a film, a strip of pictures, or a folder of them."""

import re
from pathlib import Path

from protege.core.errors import UserError
from protege.core.files import writable_folder
from protege.core.motions import Clip, load_clip
from protege.core.robots.robot import Robot

from ..render import FPS, Renderer, film_strip, write_mp4, write_png
from .beside import companion
from .importer import motions_in
from .readers.options import Options
from .source import SourceMotion
from .sources import find_sources

STRIP_FPS, STRIP_SECONDS, STRIP_COLUMNS = 10.0, 1.5, 4


def play(
    clip_path: str,
    output: str,
    robot: Robot,
    fps: float | None,
    size: str,
    start: float,
    seconds: float | None,
    *,
    source: bool = False,
) -> str:
    """Draw a clip; returns what was written. The ending of `output` says how: .mp4, .png, none for a folder.

    Args:
        size: width x height of one picture, pixels.
        start: s since the clip's start.
        seconds: how long; None for all of it, or 1.5 s of a strip.
        source: draw the motion beside the robot as its file tells it, before it was retargeted.

    Raises:
        UserError: for a bad clip, size or output, and without OpenGL.
    """
    target = Path(output)
    clip, motion = _with_source(clip_path, robot) if source else (load_clip(clip_path, robot), None)
    if target.suffix not in (".mp4", ".png", ""):
        raise UserError(f"{target} is neither a film nor pictures", "End it with .mp4 or .png, or name a folder")
    if start >= clip.duration:
        raise UserError(f"{clip_path} is over after {clip.duration:.2f} s, before --start {start:g}", "Start earlier")
    writable_folder(target if target.suffix == "" else target.parent)
    is_strip = target.suffix == ".png"
    rate = fps or (STRIP_FPS if is_strip else FPS)
    length = STRIP_SECONDS if is_strip and seconds is None else seconds
    with Renderer(robot, *_parse_size(size)) as renderer:
        beside = companion(motion, robot, renderer.model) if motion else None
        pictures = renderer.play(clip, rate, start, length, beside)
        if target.suffix == ".mp4":
            write_mp4(target, pictures, rate)
            return str(target)
        if is_strip:
            frames = list(pictures)
            write_png(target, film_strip(frames, min(len(frames), STRIP_COLUMNS)))
            return str(target)
        count = 0
        for count, picture in enumerate(pictures, start=1):
            write_png(target / f"{clip.name}_{count - 1:05d}.png", picture)
        return f"{target}: {count} pictures"


def _with_source(path: str, robot: Robot) -> tuple[Clip, SourceMotion]:
    """The clip that a motion file becomes, and the motion as the file tells it.

    Raises:
        UserError: it is a clip, which says nothing of what it was made from.
    """
    clip = load_clip(path, robot)  # which refuses a file of several motions
    (found,) = find_sources([path], ())
    if not Path(path).is_file() or found.is_clip:
        raise UserError(f"{path} is a clip, and no longer holds its source", "Give the file that it was imported from")
    (motion,) = motions_in(found.read(), found.file, found.name, Options())
    return clip, motion


def _parse_size(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if not found:
        raise UserError(f"--size {size} is not WIDTHxHEIGHT", "For example 640x480")
    return int(found[1]), int(found[2])
