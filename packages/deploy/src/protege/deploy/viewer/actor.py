"""One robot of the page's scene: its surfaces, its ghost, its command and its name."""

from typing import Any

import numpy as np
import viser

from ..commands.registry import KINDS
from ..geometry import Array, yaw
from .figure import figure
from .ground import Ground
from .simulation import Frame, Simulation

LINE_COLOR = (230, 90, 40)
LINE_HEIGHT = 0.02  # m, of lines above the ground
BALL_RADIUS = 0.12  # m, of balls
FORCE_COLOR, FORCE_SCALE, MAX_CONTACTS = (200, 30, 60), 1.0 / 1000.0, 32
"""Colour of contact forces, m of a line for one N, and how many are drawn at most."""
GHOST_COLOR, GHOST_OPACITY = (74, 111, 165), 0.45  # colour and opacity of a clip without physics
NAME_GAP = 0.25  # m between the origin of the robot's highest body and its name

Color = tuple[int, int, int]


class Actor:
    """Draws a simulation's robot.

    Args:
        scene: of the page.
        simulation: the simulation.
        place: path of the scene's node that everything is drawn below; its y shows the robot's lane.
        color: of the robot and its name; None: the robot's own colours and no name.
    """

    def __init__(
        self,
        scene: viser.SceneApi,
        simulation: Simulation,
        place: str,
        *,
        color: Color | None = None,
    ) -> None:
        self._scene, self._place, self._color = scene, place, color
        self._scene.add_frame(place, show_axes=False, position=(0.0, simulation.lane, 0.0))
        self._feet, self._root = (self._scene.add_frame(f"{place}/{x}", show_axes=False) for x in ("feet", "root"))
        self._commands = {
            name: self.line(name, x.segments) if x.segments else self._ball(name) for name, x in KINDS.items()
        }
        self._forces = self._segments("contacts", MAX_CONTACTS, FORCE_COLOR, 0.02)
        self._bodies: dict[str, Any] = {}
        self._ghost: dict[str, Any] = {}
        self._name = None if color is None else self._scene.add_label(f"{place}/name", "", anchor="bottom-center")
        self.build(simulation)

    def build(self, simulation: Simulation) -> None:
        """Replace the robot's shapes by those of the simulation's present robot."""
        for handle in (*self._bodies.values(), *self._ghost.values()):
            handle.remove()  # and all its children
        self._ghost.clear()
        self._names = simulation.metadata.body_names
        self._figure = figure(simulation.model, self._names)
        self._bodies = self._add("robot", **({} if self._color is None else {"color": self._color}))

    def show(self, frame: Frame) -> None:
        """Draw a step."""
        root, command = frame.body_pos_w[0], frame.command
        self._feet.position = (float(root[0]), float(root[1]), float(frame.ground.level(root[:2])))
        turn = yaw(frame.body_quat_w[0]) / 2.0
        self._root.position, self._root.wxyz = root, (np.cos(turn), 0.0, 0.0, np.sin(turn))
        self._pose(self._bodies, frame.body_pos_w, frame.body_quat_w)
        if frame.ghost is not None:
            self._ghost = self._ghost or self._add("ghost", color=GHOST_COLOR, opacity=GHOST_OPACITY)
            self._pose(self._ghost, *frame.ghost)
        for handle in self._ghost.values():
            handle.visible = frame.ghost is not None
        self._show_forces(frame.contacts)
        for name, kind in KINDS.items():
            show(self._commands[name], kind.drawn(command, root[:2]), frame.ground)
        if self._name is not None:
            self._name.text = f"{frame.student}{' (fallen)' * frame.fallen}"
            self._name.position = (float(root[0]), float(root[1]), float(frame.body_pos_w[:, 2].max()) + NAME_GAP)

    def line(self, name: str, segments: int) -> Any:
        """A line of so many segments, not visible yet. It replaces the one of that name."""
        return self._segments(name, segments, LINE_COLOR, 0.04)

    def _add(self, what: str, **instead: Any) -> dict[str, Any]:
        """Add the robot's shapes below the name `what`. Returns their frames by body. `instead` replaces colour or opacity."""
        frames = dict[str, Any]()
        for name, parts in self._figure.items():
            place = f"{self._place}/{what}/{name}"
            frames[name] = self._scene.add_frame(place, show_axes=False)
            for index, part in enumerate(parts):
                own = {"color": part.color, "opacity": part.opacity, "flat_shading": part.flat}
                self._scene.add_mesh_simple(f"{place}/{index}", part.vertices, part.faces, **(own | instead))
        return frames

    def _pose(self, bodies: dict[str, Any], pos: Array, quat: Array) -> None:
        """Place bodies, (B, 3) m and (B, 4)."""
        for k, name in enumerate(self._names):
            if name in bodies:
                bodies[name].position, bodies[name].wxyz = pos[k], quat[k]

    def _ball(self, name: str) -> Any:
        return self._scene.add_icosphere(f"{self._place}/{name}", radius=BALL_RADIUS, color=LINE_COLOR, visible=False)

    def _segments(self, name: str, count: int, color: Color, thickness: float) -> Any:
        nothing = np.zeros((count, 2, 3), np.float32)
        return self._scene.add_line_segments(
            f"{self._place}/{name}", nothing, color, thickness=thickness, visible=False
        )

    def _show_forces(self, contacts: tuple[Array, Array] | None) -> None:
        """A line from each contact along its force: points (C, 3) m and forces (C, 3) N; none for None."""
        self._forces.visible = contacts is not None
        if contacts is not None:
            points, forces = (x[:MAX_CONTACTS] for x in contacts)
            ends = np.zeros((MAX_CONTACTS, 2, 3), np.float32)
            ends[: len(points)] = np.stack([points, points + FORCE_SCALE * forces], axis=1)
            self._forces.points = ends


def show(handle: Any, points: Array | None, ground: Ground) -> None:
    """Show segments between points (P + 1, 2) m on the ground, or a ball at the only one; None hides them."""
    handle.visible = points is not None
    if points is not None and len(points) == 1:
        height = float(ground.height(points[0]))
        handle.position = (float(points[0, 0]), float(points[0, 1]), height + BALL_RADIUS)
    elif points is not None:
        lifted = np.column_stack([points, LINE_HEIGHT + ground.height(points)]).astype(np.float32)
        handle.points = np.stack([lifted[:-1], lifted[1:]], axis=1)
