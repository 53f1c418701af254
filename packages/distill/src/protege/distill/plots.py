"""The figures of a report, as SVG text."""

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from protege.core.tasks import tasks

from .tasks import EVALUATED

INK, MUTED, GRID = "#1d2733", "#66727f", "#e3e8ed"
PALETTE = ("#3b6fb6", "#7a5bb0", "#1f9d8b", "#e08a1e", "#c8504f", "#7d8a3c", "#b05a8a", "#4a9fd0")
COLORS = dict(zip(tasks(), cycle(PALETTE), strict=False))
POLICY_COLORS = (PALETTE[0], PALETTE[3], PALETTE[2], PALETTE[1], *PALETTE[4:])
"""Colours of policies that are compared."""
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "svg.hashsalt": "protege",  # the same data gives the same file
}


def success_bars(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Success of each task with its 95 % interval, and by the stricter rule where there is one."""
    with rc_context(STYLE):
        figure, ax = _bar_axes(tasks)
        for row, (name, result) in enumerate(tasks.items()):
            color, strict = COLORS[EVALUATED[name].name], result["strict_success"] is not None
            _bar(ax, row - 0.18 * strict, result["success"], result["success_ci"], color)
            if strict:
                _bar(ax, row + 0.18, result["strict_success"], result["strict_success_ci"], color, alpha=0.45)
        ax.set_xlabel("success, 95 % interval; the paler bar by the stricter rule")
        return svg(figure)


def error_curves(tasks: Mapping[str, Mapping[str, Any]], errors: Mapping[str, np.ndarray]) -> str:
    """Cumulative distribution of the episodes' errors, one panel for each task."""
    with rc_context(STYLE):
        figure, axes = grid(len(tasks), 7.2, 2.3)
        for ax, (name, result) in zip(axes, tasks.items(), strict=True):
            mean = _cumulative(ax, errors[name], COLORS[EVALUATED[name].name], filled=True)
            _error_axes(ax, result)
            if mean is None:
                continue
            ax.axvline(mean, color=INK, lw=0.9, ls=(0, (4, 3)))
            # The curve leaves room above it left of the mean, and below it near the left edge.
            left = mean > 0.35 * ax.get_xlim()[1]
            place: Any = {"xy": (mean, 0.88 if left else 0.06), "ha": "right" if left else "left"}
            ax.annotate(
                f"mean {mean:.3g}", xytext=(-4 if left else 4, 0), textcoords="offset points", fontsize=8, **place
            )
        return svg(figure)


def compared_error_curves(tasks: Mapping[str, Mapping[str, Any]], errors: Sequence[Mapping[str, np.ndarray]]) -> str:
    """The same of several policies, a curve for each in its colour; dashed lines are their means.

    Args:
        errors: of each policy, by task.
    """
    with rc_context(STYLE):
        figure, axes = grid(len(tasks), 7.2, 2.3)
        for ax, (task, result) in zip(axes, tasks.items(), strict=True):
            for own, color in zip(errors, POLICY_COLORS, strict=False):
                mean = _cumulative(ax, own[task], color)
                if mean is not None:
                    ax.axvline(mean, color=color, lw=0.9, ls=(0, (4, 3)))
            _error_axes(ax, result)
        return svg(figure)


def compared_success_bars(evaluations: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """Success of each task with its 95 % interval, a bar for each policy in its colour.

    Args:
        evaluations: the tasks of each policy.
    """
    with rc_context(STYLE):
        figure, ax = _bar_axes(evaluations[0])
        for row, task in enumerate(evaluations[0]):
            for k, (tasks, color) in enumerate(zip(evaluations, POLICY_COLORS, strict=False)):
                y = row + 0.36 * (k - 0.5 * (len(evaluations) - 1))
                _bar(ax, y, tasks[task]["success"], tasks[task]["success_ci"], color)
        ax.set_xlabel("success, 95 % interval")
        return svg(figure)


def _error_axes(ax: Axes, result: Mapping[str, Any]) -> None:
    ax.set_title(result["title"])
    ax.set_xlabel(f"{result['error_name']} ({result['error_unit']})")
    ax.set_ylim(0.0, 1.03)
    ax.set_yticks([0.0, 0.5, 1.0], ["0", "50 %", "100 %"])
    if not ax.lines:
        ax.text(0.5, 0.5, "never measured", ha="center", color=MUTED, transform=ax.transAxes)


def _cumulative(ax: Axes, errors: np.ndarray, color: str, *, filled: bool = False) -> float | None:
    """Draw the cumulative distribution of errors, some of which may be NaN; returns their mean, None without any."""
    values = np.sort(errors[~np.isnan(errors)])
    if not len(values):
        return None
    x, share = np.r_[0.0, values], np.arange(len(values) + 1) / len(values)
    ax.step(x, share, where="post", color=color, lw=1.8)
    if filled:
        ax.fill_between(x, share, step="post", color=color, alpha=0.12, lw=0)
    ax.set_xlim(left=0.0)
    return float(values.mean())


def path_map(traces: Sequence[np.ndarray]) -> str:
    """Paths from above, each rotated and shifted so that it starts at the origin of its panel along x.

    Args:
        traces: each (T, 4) m: x, y of the pelvis and of the path.
    """
    with rc_context(STYLE):
        figure, axes = grid(len(traces), 7.2, 2.5, columns=3)
        for ax, trace in zip(axes, traces, strict=True):
            start = trace[0, 2:]
            ahead = trace[min(10, len(trace) - 1), 2:] - start
            angle = -np.arctan2(ahead[1], ahead[0])
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            walked, path = (trace[:, :2] - start) @ turn.T, (trace[:, 2:] - start) @ turn.T
            ax.plot(*path.T, color=GRID, lw=7, solid_capstyle="round", label="to follow")
            ax.plot(*walked.T, color=PALETTE[2], lw=1.8, label="pelvis")
            ax.plot(*walked[-1], "o", color=PALETTE[2], ms=4)
            ax.plot(0.0, 0.0, "o", mfc="white", mec=MUTED, ms=5)
            distance = np.linalg.norm(walked - path, axis=1)
            ax.set_title(f"mean {100 * distance.mean():.0f} cm, at most {100 * distance.max():.0f} cm", fontsize=8)
            ax.set_aspect("equal", adjustable="datalim")
            ax.tick_params(labelsize=7)
        axes[0].legend(fontsize=7, loc="best")
        return svg(figure)


def training_curves(rows: Sequence[Mapping[str, float]], panels: Mapping[str, Sequence[str]]) -> str:
    """Metrics over samples, one panel for each title; metrics that were never logged are left out.

    Args:
        rows: of metrics.jsonl.
        panels: title -> metrics.
    """
    shown = {title: [m for m in names if sum(m in row for row in rows) > 1] for title, names in panels.items()}
    shown = {title: names for title, names in shown.items() if names}
    if not shown:
        return ""
    with rc_context(STYLE):
        figure, axes = grid(len(shown), 7.2, 2.3)
        for ax, (title, names) in zip(axes, shown.items(), strict=True):
            positive = True
            for k, name in enumerate(names):
                x, y = zip(*[(row["samples"] / 1e6, row[name]) for row in rows if name in row], strict=True)
                task = next((task for task in COLORS if task in name.split("/")), None)
                color = COLORS[task] if task else list(COLORS.values())[k % len(COLORS)]
                ax.plot(x, y, color=color, lw=1.4, label=name)
                positive = positive and min(y) > 0.0 and max(y) > 10.0 * min(y)
            if positive:
                ax.set_yscale("log")
            ax.set_title(title)
            ax.set_xlabel("million samples")
            if len(names) > 1:
                ax.legend(fontsize=7)
        return svg(figure)


def _bar_axes(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[Figure, Axes]:
    """A figure for bars of success, a row for each task."""
    figure, (ax,) = grid(1, 7.2, 0.62 * len(tasks) + 1.0)
    ax.set_yticks(range(len(tasks)), [result["title"] for result in tasks.values()], color=INK)
    ax.set_ylim(len(tasks) - 0.5, -0.5)
    ax.set_xlim(0.0, 1.12)
    ax.set_xticks(np.linspace(0.0, 1.0, 6), [f"{100 * x:.0f} %" for x in np.linspace(0.0, 1.0, 6)])
    ax.grid(axis="y", visible=False)
    return figure, ax


def _bar(ax: Axes, y: float, value: float, interval: Sequence[float], color: str, alpha: float = 1.0) -> None:
    low, high = interval
    ax.barh(y, value, 0.34, color=color, alpha=alpha)
    ax.errorbar(value, y, xerr=[[max(value - low, 0.0)], [max(high - value, 0.0)]], color=INK, lw=1.1, capsize=2.5)
    ax.annotate(
        f"{100 * value:.1f} %", (max(high, value), y), (5, 0), textcoords="offset points", va="center", fontsize=8
    )


def grid(count: int, width: float, height: float, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of `columns`; `width` of the figure and `height` of a row in inches."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for ax in axes[count:]:
        ax.set_visible(False)
    return figure, axes[:count]


def svg(figure: Figure) -> str:
    """The figure as SVG text; the same data gives the same text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
