"""Plots of latency and tracking error over the last seconds."""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import viser
from viser import uplot

from ..geometry import Array
from .group import Group
from .scene import STUDENT_COLORS
from .simulation import Frame
from .tracking import ERROR_UNITS

PLOT_SECONDS = 10.0
MAX_POINTS = 300
FRAMES_PER_UPDATE = 10
"""Frames of the lead from one update of the page to the next."""


class Plots:
    """Two charts: latency of the lead, and error of each student.

    Args:
        gui: of the page.
        group: the simulations.
    """

    def __init__(self, gui: viser.GuiApi, group: Group) -> None:
        self._rows = deque[tuple[float, float, float]]([(np.nan, np.nan, np.nan)] * 2, maxlen=MAX_POINTS)
        self._errors = [deque[float]([np.nan] * 2, maxlen=MAX_POINTS) for _ in group.names]
        self._last: list[Frame | None] = [None] * len(self._errors)
        self._kind = ""
        self._count, self._dt = 0, group.metadata.control_dt
        self.text = gui.add_markdown("")
        self._latency = self._chart(gui, "control step, ms", (("policy", "#e65a28"), ("all of it", "#4a6fa5")))
        colors = [_hex(STUDENT_COLORS[k % len(STUDENT_COLORS)]) for k in range(len(group.names))]
        labels = list(zip(group.names, colors, strict=True)) if group.together else [("error", "#2a9d5c")]
        self._error = self._chart(gui, "tracking error", labels)

    def add(self, frames: Sequence[Frame | None]) -> None:
        """Add a step of each robot, None for no new one, and update the page every `FRAMES_PER_UPDATE` steps of the lead."""
        for index, frame in enumerate(frames):
            if frame is not None:
                self._errors[index].append(frame.error)
                self._last[index] = frame
        lead = frames[0]
        if lead is None:
            return
        if lead.error_of != self._kind:
            self._kind = lead.error_of
            self._error.title = (
                f"{lead.error_of or 'no'} error{f', {ERROR_UNITS[lead.error_of]}' if lead.error_of else ''}"
            )
        self._count += 1
        self._rows.append((self._count * self._dt, lead.infer_ms, lead.cycle_ms))
        if self._count % FRAMES_PER_UPDATE:
            return
        time, infer, cycle = np.array(self._rows, dtype=np.float64).T
        self._latency.data = (time, infer, cycle)
        self._error.data = (time, *(_latest(errors, len(time)) for errors in self._errors))
        states = "  \n".join(_state(frame) for frame in self._last if frame is not None)
        self.text.content = (
            f"{states}  \npolicy p50 {np.nanpercentile(infer, 50):.2f} ms, p99 {np.nanpercentile(infer, 99):.2f} ms"
        )

    @staticmethod
    def _chart(gui: viser.GuiApi, title: str, lines: Sequence[tuple[str, str]]) -> Any:
        nothing = np.zeros(2)
        series = (
            uplot.Series(label="s"),
            *(uplot.Series(label=label, stroke=color, width=2) for label, color in lines),
        )
        return gui.add_uplot(
            data=(np.arange(2.0), *(nothing for _ in lines)),
            series=series,
            title=title,
            scales={"x": uplot.Scale(time=False, auto=True), "y": uplot.Scale(auto=True)},
            aspect=2.2,
        )


def _state(frame: Frame) -> str:
    """What a robot does, and its error, as a line of Markdown."""
    state = "fallen" if frame.fallen else ", ".join(frame.modes) or "nothing commanded"
    note = f" **{frame.note}**" if frame.note else ""
    return f"**{frame.student}**: {state}, error {frame.error:.3f} {ERROR_UNITS.get(frame.error_of, '')}{note}"


def _latest(values: Sequence[float], count: int) -> Array:
    """The last `count` values, after NaN where there are fewer."""
    found = np.array(values, dtype=np.float64)[-count:]
    return np.concatenate([np.full(count - len(found), np.nan), found])


def _hex(color: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
