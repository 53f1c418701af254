"""The page's 3D scene: the robot, the ground and the present command."""

from typing import Any

import numpy as np
import viser

from ..commands.registry import KINDS
from ..interface import Array
from ..policy.metadata import Camera
from .figure import figure
from .simulation import Frame, Simulation

LINE_COLOR, GRID_COLOR, FLOOR_COLOR = (230, 90, 40), (170, 175, 182), (214, 218, 222)
CAMERA_OFFSET, CAMERA_LOOK_AHEAD = np.array([-1.2, -0.9, 0.36]), 0.1
"""Camera position relative to the point that it looks at, and that point's distance ahead of the robot. Both are multiples of the
robot's own camera distance."""
WORLD_NODE = "/world"
"""Moved so that the robot stays in view: the camera belongs to the user, and code does not move it."""
FEET_NODE = f"{WORLD_NODE}/feet"
"""A frame on the ground below the root, with the world's axes."""
LINE_HEIGHT = 0.02  # m, of lines above the ground
BALL_RADIUS = 0.12  # m, of balls
FORCE_COLOR, FORCE_SCALE, MAX_CONTACTS = (200, 30, 60), 1.0 / 1000.0, 32
"""Colour of contact forces, m of a line for one N, and how many are drawn at most."""
GHOST_COLOR, GHOST_OPACITY = (74, 111, 165), 0.45  # colour and opacity of a clip without physics


class Scene:
    """Draws a simulation.

    Args:
        server: of the page.
        simulation: the simulation.
    """

    def __init__(self, server: viser.ViserServer, simulation: Simulation) -> None:
        self._server, self._scene = server, server.scene
        self._scene.set_up_direction("+z")
        self._origin = self._scene.add_frame(WORLD_NODE, show_axes=False)
        self._feet = self._scene.add_frame(FEET_NODE, show_axes=False)
        colors: dict[str, Any] = {"cell_color": GRID_COLOR, "section_color": GRID_COLOR, "plane_color": FLOOR_COLOR}
        lines: dict[str, Any] = {"cell_size": 1.0, "section_size": 5.0, "section_thickness": 1.0, "fade_distance": 60.0}
        self._scene.add_grid(
            f"{WORLD_NODE}/ground", 400.0, 400.0, plane_opacity=1.0, shadow_opacity=0.3, **colors, **lines
        )
        self._commands = {
            name: self._line(name, x.segments) if x.segments else self._ball(name) for name, x in KINDS.items()
        }
        self._drawn = self._line("drawn", 1)
        self._forces = self._segments("contacts", MAX_CONTACTS, FORCE_COLOR, 0.02)
        self._bodies: dict[str, Any] = {}
        self._ghost: dict[str, Any] = {}
        self._camera: Camera | None = None
        self.follow = True
        self.build(simulation)

    def build(self, simulation: Simulation) -> None:
        """Replace the robot's shapes by those of the simulation's present robot."""
        for handle in (*self._bodies.values(), *self._ghost.values()):
            handle.remove()  # and all its children
        self._ghost.clear()
        self._names, self._figure = (
            simulation.metadata.body_names,
            figure(simulation.model, simulation.metadata.body_names),
        )
        self._bodies = self._add("robot")
        if simulation.metadata.camera != self._camera:
            self._look(simulation.metadata.camera)

    def _add(self, what: str, **instead: Any) -> dict[str, Any]:
        """Add the robot's shapes below the name `what`. Returns their frames by body. `instead` replaces colour or opacity."""
        frames = dict[str, Any]()
        for name, parts in self._figure.items():
            place = f"{WORLD_NODE}/{what}/{name}"
            frames[name] = self._scene.add_frame(place, show_axes=False)
            for index, part in enumerate(parts):
                own = {"color": part.color, "opacity": part.opacity, "flat_shading": part.flat}
                self._scene.add_mesh_simple(f"{place}/{index}", part.vertices, part.faces, **(own | instead))
        return frames

    def _look(self, camera: Camera) -> None:
        """Set the camera of pages that open from now on: behind the robot, to its right."""
        self._camera = camera
        ahead = np.array([CAMERA_LOOK_AHEAD * camera.distance, 0.0, camera.height])
        self._server.initial_camera.position = tuple(ahead + camera.distance * CAMERA_OFFSET)
        self._server.initial_camera.look_at = tuple(ahead)
        self._server.initial_camera.up = (0.0, 0.0, 1.0)

    def show(self, frame: Frame) -> None:
        """Draw a step."""
        root, command = frame.body_pos_w[0], frame.command
        with self._server.atomic():
            if self.follow:
                x, y = (root if frame.ghost is None else frame.ghost[0][0])[:2]
                self._origin.position = (-float(x), -float(y), 0.0)
            self._feet.position = (float(root[0]), float(root[1]), 0.0)
            self._pose(self._bodies, frame.body_pos_w, frame.body_quat_w)
            if frame.ghost is not None:
                self._ghost = self._ghost or self._add("ghost", color=GHOST_COLOR, opacity=GHOST_OPACITY)
                self._pose(self._ghost, *frame.ghost)
            for handle in self._ghost.values():
                handle.visible = frame.ghost is not None
            self._show_forces(frame.contacts)
            for name, kind in KINDS.items():
                self._show(self._commands[name], kind.drawn(command, root[:2]))

    def _pose(self, bodies: dict[str, Any], pos: Array, quat: Array) -> None:
        """Place bodies, (B, 3) m and (B, 4)."""
        for k, name in enumerate(self._names):
            if name in bodies:
                bodies[name].position, bodies[name].wxyz = pos[k], quat[k]

    def draw(self, points: list[tuple[float, float]]) -> None:
        """Draw the path that is being clicked, (x, y) m in the world."""
        self._drawn = self._line("drawn", max(1, len(points) - 1))  # replaces the line of that name
        self._show(self._drawn, np.array(points) if len(points) > 1 else None)

    def ground(self, origin: Array, direction: Array) -> tuple[float, float] | None:
        """Where a ray of the page meets the ground, (x, y) m in the world; None if it does not within 100 m."""
        if direction[2] >= -1e-6:
            return None
        reach = -origin[2] / direction[2]
        point = np.asarray(origin)[:2] + reach * np.asarray(direction)[:2]
        if reach < 0.0 or np.linalg.norm(point) > 100.0:
            return None
        x, y = point - np.asarray(self._origin.position)[:2]
        return float(x), float(y)

    def _ball(self, name: str) -> Any:
        return self._scene.add_icosphere(f"{WORLD_NODE}/{name}", radius=BALL_RADIUS, color=LINE_COLOR, visible=False)

    def _line(self, name: str, segments: int) -> Any:
        return self._segments(name, segments, LINE_COLOR, 0.04)

    def _segments(self, name: str, count: int, color: tuple[int, int, int], thickness: float) -> Any:
        nothing = np.zeros((count, 2, 3), np.float32)
        return self._scene.add_line_segments(f"{WORLD_NODE}/{name}", nothing, color, thickness=thickness, visible=False)

    def _show_forces(self, contacts: tuple[Array, Array] | None) -> None:
        """A line from each contact along its force: points (C, 3) m and forces (C, 3) N; none for None."""
        self._forces.visible = contacts is not None
        if contacts is not None:
            points, forces = (x[:MAX_CONTACTS] for x in contacts)
            ends = np.zeros((MAX_CONTACTS, 2, 3), np.float32)
            ends[: len(points)] = np.stack([points, points + FORCE_SCALE * forces], axis=1)
            self._forces.points = ends

    @staticmethod
    def _show(handle: Any, points: Array | None) -> None:
        """Segments between points (P + 1, 2) m on the ground, or a ball at the only one."""
        handle.visible = points is not None
        if points is not None and len(points) == 1:
            handle.position = (float(points[0, 0]), float(points[0, 1]), BALL_RADIUS)
        elif points is not None:
            lifted = np.column_stack([points, np.full(len(points), LINE_HEIGHT)]).astype(np.float32)
            handle.points = np.stack([lifted[:-1], lifted[1:]], axis=1)
