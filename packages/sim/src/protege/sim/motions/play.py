"""A clip as a film, a strip of pictures, or a folder of them."""

import re
from pathlib import Path

from protege.core.errors import UserError
from protege.core.files import writable_folder
from protege.core.motions import Clip, load_clip
from protege.core.robots.robot import Robot

from ..render import FPS, Renderer, film_strip, write_mp4, write_png
from .beside import companion
from .identity import robot_of
from .importer import fit, motions_in
from .readers.options import NO_OPTIONS, Options
from .source import JointMotion, SourceMotion
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
    options: Options = NO_OPTIONS,
) -> str:
    """Draw a clip; returns what was written. The suffix of `output` selects the kind: .mp4, .png, or none for a folder.

    Args:
        size: width x height of one picture, pixels.
        start: start time in the clip, s.
        seconds: length, s; None for the whole clip, or 1.5 s for a strip.
        source: also draw the motion as in its file, before retargeting.
        options: what the user specifies about a motion file.

    Raises:
        UserError: a bad clip, size or output, or no OpenGL.
    """
    target = Path(output)
    is_file = source or options != NO_OPTIONS
    clip, motion = _with_source(clip_path, robot, options) if is_file else (load_clip(clip_path, robot), None)
    if target.suffix not in (".mp4", ".png", ""):
        raise UserError(f"{target} is neither a film nor pictures", "End it with .mp4 or .png, or name a folder")
    if start >= clip.duration:
        raise UserError(f"{clip_path} is over after {clip.duration:.2f} s, before --start {start:g}", "Start earlier")
    writable_folder(target if target.suffix == "" else target.parent)
    is_strip = target.suffix == ".png"
    rate = fps or (STRIP_FPS if is_strip else FPS)
    length = STRIP_SECONDS if is_strip and seconds is None else seconds
    with Renderer(robot, *_parse_size(size)) as renderer:
        beside = companion(motion, robot, renderer.model) if motion and source else None
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


def robot_of_file(path: str, options: Options) -> str | None:
    """The robot whose joints a motion file has, read with options; None for a skeleton's, or without options."""
    if options == NO_OPTIONS:
        return None
    motion = _motion(path, options)
    return robot_of(motion) or None if isinstance(motion, JointMotion) else None


def _with_source(path: str, robot: Robot, options: Options) -> tuple[Clip, SourceMotion]:
    """The clip that a motion file becomes, and the motion as in the file."""
    # From the cache; it rejects a file with several motions.
    clip = load_clip(path, robot) if options == NO_OPTIONS else None
    motion = _motion(path, options)
    return clip or fit(motion, robot, options)[1], motion


def _motion(path: str, options: Options) -> SourceMotion:
    """The motion as in a file.

    Raises:
        UserError: it is a clip, which does not contain its source, or several motions.
    """
    (found,) = find_sources([path], ()) if Path(path).is_file() else (None,)
    if found is None or found.is_clip:
        raise UserError(f"{path} is a clip, and no longer holds its source", "Give the file that it was imported from")
    motions = motions_in(found.read(), found.file, found.name, options)
    if len(motions) != 1:
        raise UserError(f"{path} has {len(motions)} motions", "Import it, and play one of its clips")
    return motions[0]


def _parse_size(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", size)
    if not found:
        raise UserError(f"--size {size} is not WIDTHxHEIGHT", "For example 640x480")
    return int(found[1]), int(found[2])
