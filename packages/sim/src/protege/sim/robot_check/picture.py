"""A picture of a robot in its default pose, see-through, with the frames of its bodies."""

from pathlib import Path

from protege.core.robots.robot import Robot

from ..render import Renderer, write_png
from .default_pose import standing

SIZE = (960, 960)
"""Pixels."""


def draw(robot: Robot, path: Path) -> None:
    """Write the picture: x axes are red, y axes green, z axes blue.

    Raises:
        UserError: without OpenGL, or if the file cannot be written.
    """
    with Renderer(robot, *SIZE, frames=True) as renderer:
        write_png(path, renderer.frame(standing(robot)))
