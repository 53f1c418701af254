"""Plots of latency and tracking error over the last seconds."""

from collections import deque
from typing import Any

import numpy as np
import viser
from viser import uplot

from .simulation import Frame
from .tracking import ERROR_UNITS

PLOT_SECONDS = 10.0
MAX_POINTS = 300
FRAMES_PER_UPDATE = 10
"""Frames from one update of the page to the next."""


class Plots:
    """Two charts.

    Args:
        gui: of the page.
        control_dt: s, period of the control loop.
    """

    def __init__(self, gui: viser.GuiApi, control_dt: float) -> None:
        self._rows: deque[tuple[float, float, float, float]] = deque(
            [(np.nan, np.nan, np.nan, np.nan)] * 2, maxlen=MAX_POINTS
        )
        self._kind = ""
        self._count, self._dt = 0, control_dt
        self.text = gui.add_markdown("")
        self._latency = self._chart(gui, "control step, ms", (("policy", "#e65a28"), ("all of it", "#4a6fa5")))
        self._error = self._chart(gui, "tracking error", (("error", "#2a9d5c"),))

    def add(self, frame: Frame) -> None:
        """Add a frame, and update the page every `FRAMES_PER_UPDATE` frames."""
        if frame.error_of != self._kind:
            self._kind = frame.error_of
            self._error.title = (
                f"{frame.error_of or 'no'} error{f', {ERROR_UNITS[frame.error_of]}' if frame.error_of else ''}"
            )
        self._count += 1
        self._rows.append((self._count * self._dt, frame.infer_ms, frame.cycle_ms, frame.error))
        if self._count % FRAMES_PER_UPDATE:
            return
        time, infer, cycle, error = np.array(self._rows, dtype=np.float64).T
        self._latency.data = (time, infer, cycle)
        self._error.data = (time, error)
        state = "fallen" if frame.fallen else ", ".join(frame.modes) or "nothing commanded"
        note = f"  \n**{frame.note}**" if frame.note else ""
        self.text.content = (
            f"**{frame.student}**: {state}{note}  \npolicy p50 {np.nanpercentile(infer, 50):.2f} ms, "
            f"p99 {np.nanpercentile(infer, 99):.2f} ms; error {frame.error:.3f} {ERROR_UNITS.get(frame.error_of, '')}"
        )

    @staticmethod
    def _chart(gui: viser.GuiApi, title: str, lines: tuple[tuple[str, str], ...]) -> Any:
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
