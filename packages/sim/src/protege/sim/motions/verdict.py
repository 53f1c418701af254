"""Facts about a clip, and whether it is plausible: the head of `inspect`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from protege.core.motions import Clip, Finding, findings
from protege.core.motions.contact import contact_points
from protege.core.motions.plausibility import errors, travel_against_facing, warnings
from protege.core.robots.robot import Robot


@dataclass(frozen=True)
class Verdict:
    """Facts about a clip, and the findings of the check that every command runs.

    Attributes:
        fps: median frame rate.
        largest_gap: s, the longest time between two frames, after frame `gap_frame`.
        lowest, highest: m, extreme heights of the robot's lowest point above the floor, over all frames; `median` in between.
        facing: mean cosine between travel and facing, weighted by distance: 1 ahead, 0 sideways, -1 backwards; None for a clip that
            travels less than half a metre.
        verdict: `fine`, `warnings` or `errors`; with errors `load_clip` rejects the clip.
    """

    name: str
    robot: str
    source: str
    duration: float
    frames: int
    fps: float
    largest_gap: float
    gap_frame: int
    mean_speed: float
    cyclic: bool
    facing: float | None
    lowest: float | None
    median: float | None
    highest: float | None
    verdict: str
    findings: tuple[Finding, ...]

    @property
    def has_gap(self) -> bool:
        """Whether frames are missing: some interval is twice the usual one."""
        return self.largest_gap * self.fps > 1.99


MIN_TRAVEL = 0.5
"""m, least travel of a clip whose facing is reported."""


def assess(clip: Clip, robot: Robot) -> Verdict:
    """Check a clip. Heights are None if an error says that the numbers are implausible."""
    steps, found = np.diff(clip.time), findings(clip, robot)
    insane = bool(errors(found))
    way = 0.0 if insane else float(np.linalg.norm(np.diff(clip.root_pos_w[:, :2], axis=0), axis=1).sum())
    heights = [None] * 3
    if not insane:
        height = contact_points(robot, clip.root_pos_w, clip.root_quat_w, clip.joint_pos)[..., 2].min(axis=1)
        heights = [float(f(height)) for f in (np.min, np.median, np.max)]
    return Verdict(
        name=clip.name,
        robot=clip.robot,
        source=clip.source,
        duration=clip.duration,
        frames=len(clip.time),
        fps=float(1.0 / np.median(steps)),
        largest_gap=float(steps.max()),
        gap_frame=int(steps.argmax()),
        mean_speed=clip.mean_speed,
        cyclic=clip.is_cyclic,
        facing=travel_against_facing(clip.root_pos_w, clip.root_quat_w) if way > MIN_TRAVEL else None,
        lowest=heights[0],
        median=heights[1],
        highest=heights[2],
        verdict="errors" if insane else "warnings" if found else "fine",
        findings=tuple(found),
    )


def head(verdict: Verdict) -> str:
    """The facts in words, one kind per line."""
    repeats = "repeats" if verdict.cyclic else "does not repeat"
    gap = f"a gap of {verdict.largest_gap:.3g} s after frame {verdict.gap_frame}"
    lines = [
        f"{verdict.name}: {verdict.duration:.2f} s, {verdict.frames} frames, {verdict.mean_speed:.2f} m/s, {repeats}",
        f"rate               {verdict.fps:.4g} frames a second, {gap if verdict.has_gap else 'no gaps'}",
    ]
    if verdict.lowest is not None:
        # The sum turns -0 into 0.
        cm = (f"{round(100.0 * (x or 0.0), 1) + 0.0}" for x in (verdict.lowest, verdict.median, verdict.highest))
        lines.append("height             lowest point over the floor: least {}, median {}, most {} cm".format(*cm))
    if verdict.facing is not None:
        lines.append(f"travel             {_direction(verdict.facing)} (cosine to its facing {verdict.facing:.2f})")
    return "\n".join(lines)


def _direction(cosine: float) -> str:
    return "ahead" if cosine > 0.7 else "backwards" if cosine < -0.7 else "sideways, or to and fro"


def conclusion(found: Sequence[Finding]) -> str:
    """The verdict in words: `fine`, or each finding with its remedy, one per line."""
    counts = [(len(some), word) for some, word in ((errors(found), "error"), (warnings(found), "warning")) if some]
    words = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts)
    return "\n".join([f"verdict: {words or 'fine'}", *(f"  {one.severity}: {one}" for one in found)])
