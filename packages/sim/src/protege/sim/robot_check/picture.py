"""A transparent picture of a robot in its default pose, with the frames of its bodies."""

from pathlib import Path

from protege.core.robots.robot import Robot

from ..render import Renderer, film_strip, write_png
from .default_pose import standing

SIZE = (960, 960)
"""Size of a view in pixels."""


def draw(robot: Robot, path: Path) -> None:
    """Write the picture: x axes are red, y axes green, z axes blue. Collision shapes are beside visual ones, if there are any.

    Raises:
        UserError: OpenGL is missing, or the file cannot be written.
    """
    has_looks = robot.menagerie or any(body.looks for body in robot.bodies)
    views = []
    for shapes in (False, True) if has_looks else (True,):
        with Renderer(robot, *SIZE, frames=True, shapes=shapes) as renderer:
            views.append(renderer.frame(standing(robot)))
    write_png(path, film_strip(views, len(views)))
