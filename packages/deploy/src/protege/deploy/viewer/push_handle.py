"""The handle at the robot's root that pushes: while it is dragged an arrow shows the push, and letting go pushes the robot."""

from collections.abc import Callable
from typing import Any

import numpy as np
import viser

from ..geometry import Array
from .actor import FORCE_COLOR
from .scene import ROOT_NODE

FORCE_PER_METRE = 600.0  # N
LEAST_FORCE = 20.0  # N; a shorter drag is a click
HEAD = 0.15
"""Length and half the width of the arrow's head, a share of the arrow's length."""


class PushHandle:
    """A handle that returns to the root when it is released.

    Args:
        scene: of the page.
        largest: force of a push at most, N.
        aim: called with the force, N, while the handle is dragged.
        push: called with the force and its direction, degrees to the left of the robot's heading, when it is released.
    """

    def __init__(
        self,
        scene: viser.SceneApi,
        largest: float,
        aim: Callable[[float], None],
        push: Callable[[float, float], None],
    ) -> None:
        self._largest, self._aim, self._push = largest, aim, push
        self._handle = scene.add_transform_controls(
            f"{ROOT_NODE}/handle", 0.5, active_axes=(True, True, False), disable_rotations=True, depth_test=False
        )
        self._arrow = scene.add_line_segments(
            f"{ROOT_NODE}/arrow", arrow(np.zeros(2)), FORCE_COLOR, thickness=0.03, visible=False
        )

        @self._handle.on_update
        async def _(event: Any) -> None:  # in the order of the page's events
            self._dragged(ends=event.phase == "end")

    def _dragged(self, *, ends: bool) -> None:
        offset = np.array(self._handle.position[:2])  # a copy: the handle is moved back below
        length = float(np.hypot(*offset))
        force = min(self._largest, FORCE_PER_METRE * length)
        pushes = force >= LEAST_FORCE
        self._arrow.visible = pushes and not ends
        if pushes:
            self._arrow.points = arrow(offset * force / (FORCE_PER_METRE * length))
            self._aim(force)
        if ends:
            self._handle.position = (0.0, 0.0, 0.0)
            if pushes:
                self._push(force, float(np.degrees(np.arctan2(offset[1], offset[0]))))


def arrow(tip: Array) -> Array:
    """The segments, (3, 2, 3) m, of an arrow from the origin to a point (2,) m of the horizontal plane."""
    back, side = (1.0 - HEAD) * tip, HEAD * np.array([-tip[1], tip[0]])
    ends = np.array([[np.zeros(2), tip], [tip, back + side], [tip, back - side]])
    return np.concatenate([ends, np.zeros((3, 2, 1))], axis=2).astype(np.float32)
