"""The curves of a robustness report as SVG text."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context

from ..plots import GRID, INK, MUTED, POLICY_COLORS, STYLE, grid, svg


def success_curves(policies: Sequence[Mapping[str, Any]], pass_at: float) -> str:
    """Success over the values of each factor with 95 % intervals: one panel for each factor, one curve for each policy."""
    panels = [
        [(policy, factor) for policy in policies for factor in policy["factors"] if factor["name"] == name]
        for name in dict.fromkeys(factor["name"] for policy in policies for factor in policy["factors"])
    ]
    panels = [[(p, f) for p, f in panel if f["points"]] for panel in panels]
    panels = [panel for panel in panels if panel]
    if not panels:
        return ""
    with rc_context(STYLE):
        figure, axes = grid(len(panels), 9.0, 2.3, columns=3)
        for ax, panel in zip(axes, panels, strict=True):
            _, first = panel[0]
            ax.axhline(pass_at, color=GRID, lw=1.4, zorder=0)
            for policy, factor in panel:
                base = policy["nominal"]
                tasks = list(factor["points"][0]["tasks"])
                nominal = base["tasks"][tasks[0]] if len(tasks) == 1 else base
                points = [{"value": factor["nominal"], **nominal}, *factor["points"]]
                x, y = [p["value"] for p in points], [p["success"] for p in points]
                low = [max(p["success"] - p["success_ci"][0], 0.0) for p in points]
                high = [max(p["success_ci"][1] - p["success"], 0.0) for p in points]
                color = POLICY_COLORS[policies.index(policy) % len(POLICY_COLORS)]
                ax.errorbar(x, y, yerr=[low, high], color=color, lw=1.6, marker="o", ms=3.5, elinewidth=0.9, capsize=2)
            ax.set_title(first["title"], fontsize=8.5)
            ax.set_ylim(-0.04, 1.06)
            ax.set_yticks([0.0, 0.5, 1.0], ["0", "50 %", "100 %"])
            if first["switch"]:
                ax.set_xticks([0.0, 1.0], ["off", "on"])
                ax.set_xlim(-0.3, 1.3)
            else:
                ax.set_xlabel(first["unit"], fontsize=8)
            if first["points"][0]["value"] < first["nominal"]:
                ax.invert_xaxis()  # mild values are on the left in all panels
            ax.tick_params(labelsize=7.5, colors=MUTED)
            ax.title.set_color(INK)
        return svg(figure)
