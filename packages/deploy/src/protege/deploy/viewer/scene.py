"""The page's 3D scene: the ground and the robots."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import viser

from ..geometry import Array
from ..policy.metadata import Camera
from .actor import Actor, Color, show
from .ground import Ground
from .group import Group
from .simulation import Frame

GRID_COLOR, FLOOR_COLOR = (170, 175, 182), (214, 218, 222)
CAMERA_OFFSET, CAMERA_LOOK_AHEAD = np.array([-1.2, -0.9, 0.36]), 0.1
"""Camera position relative to the point that it looks at, and that point's distance ahead of the robot. Both are multiples of the
robot's own camera distance."""
WORLD_NODE = "/world"
"""Moved so that the robot stays in view: the camera belongs to the user, and code does not move it."""
LEAD_NODE = f"{WORLD_NODE}/0"
GROUND_STEPS = 8
"""Steps of the search for the point where a ray meets uneven ground: each takes the height below the last one's point."""
FEET_NODE = f"{LEAD_NODE}/feet"
"""A frame on the ground below the lead's root, with the world's axes."""
ROOT_NODE = f"{LEAD_NODE}/root"
"""A frame at the lead's root, level, with x ahead."""
STUDENT_COLORS: tuple[Color, ...] = ((230, 140, 60), (60, 160, 110), (150, 90, 190), (205, 175, 40))
"""Colours of students side by side, in the scene and in the charts, again and again."""


class Scene:
    """Draws a group's robots.

    Args:
        server: of the page.
        group: the simulations.
    """

    def __init__(self, server: viser.ViserServer, group: Group) -> None:
        self._server, self._scene = server, server.scene
        self._scene.set_up_direction("+z")
        self._origin = self._scene.add_frame(WORLD_NODE, show_axes=False)
        colors: dict[str, Any] = {"cell_color": GRID_COLOR, "section_color": GRID_COLOR, "plane_color": FLOOR_COLOR}
        lines: dict[str, Any] = {"cell_size": 1.0, "section_size": 5.0, "section_thickness": 1.0, "fade_distance": 60.0}
        self._scene.add_grid(
            f"{WORLD_NODE}/ground", 400.0, 400.0, plane_opacity=1.0, shadow_opacity=0.3, **colors, **lines
        )
        self._actors = [
            Actor(
                self._scene,
                simulation,
                f"{WORLD_NODE}/{index}",
                color=STUDENT_COLORS[index % len(STUDENT_COLORS)] if group.together else None,
            )
            for index, simulation in enumerate(group.simulations)
        ]
        self._drawn = self._actors[0].line("drawn", 1)
        self._camera: Camera | None = None
        self.follow = True
        self._look(group.metadata.camera)
        self._ground, self._terrain = group.lead.ground, None

    def build(self, group: Group) -> None:
        """Replace robots and ground by those of the students that act now."""
        if group.lead.ground is not self._ground:
            self._build_ground(group.lead.ground)
        for actor, simulation in zip(self._actors, group.simulations, strict=True):
            actor.build(simulation)
        if group.metadata.camera != self._camera:
            self._look(group.metadata.camera)

    def _build_ground(self, ground: Ground) -> None:
        self._ground = ground
        if self._terrain is not None:
            self._terrain.remove()
        self._terrain = None
        if ground.terrain is not None:
            self._terrain = self._scene.add_mesh_trimesh(f"{WORLD_NODE}/terrain", ground.surface())

    def _look(self, camera: Camera) -> None:
        """Set the camera of pages that open from now on: behind the robot, to its right."""
        self._camera = camera
        ahead = np.array([CAMERA_LOOK_AHEAD * camera.distance, 0.0, camera.height])
        self._server.initial_camera.position = tuple(ahead + camera.distance * CAMERA_OFFSET)
        self._server.initial_camera.look_at = tuple(ahead)
        self._server.initial_camera.up = (0.0, 0.0, 1.0)

    def show(self, frames: Sequence[Frame | None]) -> None:
        """Draw a step of each robot; None: what is drawn is the last one."""
        with self._server.atomic():
            lead = frames[0]
            if self.follow and lead is not None:
                x, y = (lead.body_pos_w if lead.ghost is None else lead.ghost[0])[0, :2]
                self._origin.position = (-float(x), -float(y), 0.0)
            for actor, frame in zip(self._actors, frames, strict=True):
                if frame is not None:
                    actor.show(frame)

    def draw(self, points: list[tuple[float, float]]) -> None:
        """Draw the path that is being clicked, (x, y) m in the world."""
        self._drawn = self._actors[0].line("drawn", max(1, len(points) - 1))
        show(self._drawn, np.array(points) if len(points) > 1 else None, self._ground)

    def ground(self, origin: Array, direction: Array) -> tuple[float, float] | None:
        """Where a ray of the page meets the ground, (x, y) m in the lead's world; None if it does not within 100 m."""
        if direction[2] >= -1e-6:
            return None
        height, point = 0.0, np.zeros(2)
        for _ in range(GROUND_STEPS):
            reach = (height - origin[2]) / direction[2]
            point = np.asarray(origin)[:2] + reach * np.asarray(direction)[:2]
            if reach < 0.0 or np.linalg.norm(point) > 100.0:
                return None
            point -= np.asarray(self._origin.position)[:2]
            height = float(self._ground.height(point))
        return float(point[0]), float(point[1])
