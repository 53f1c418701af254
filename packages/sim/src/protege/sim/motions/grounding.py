"""How a clip gets onto the ground: the choices of `--ground`.

`none` does not move it. `shift` raises or lowers the whole clip by one amount. `feet` holds standing feet in place and on the
ground. `auto` is `feet`, except for a robot's own joints whose feet are already good.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from protege.core.motions import Clip
from protege.core.robots.robot import Robot

from . import cycles
from .feet import pinned
from .ground import put_feet_on_ground, within_limits
from .inspect import floor_penetration, joint_limits, sliding
from .readers.options import Ground
from .soles import clip_standing
from .surface import trace

MAX_SLIDE_SPEED, MAX_HEIGHT_OFFSET = 0.05, 0.01
"""m/s on average and m: limits within which a robot's own joints stay as they are; heights beyond them count as hovering."""
DOWN_HEIGHT = 0.03
"""m above the feet: a hand or a back that is lower is on the ground as well."""
CYCLE_PADDING = 1.0
"""s of the repetitions before and after a cycle that are held with it, so that it ends as it begins."""


@dataclass(frozen=True)
class Fitted:
    """A clip, and notes on how well it fits its source."""

    clip: Clip
    notes: tuple[str, ...] = ()


def grounded(
    clip: Clip, robot: Robot, ground: Ground, standing: Sequence[np.ndarray] | None = None, *, wraps: bool = False
) -> Fitted:
    """The clip of T evenly spaced frames on the ground; `auto` is `feet`.

    Args:
        standing: for the left and the right foot, (T,) when it stands; None to determine it from the clip's own soles.
        wraps: the last frame repeats the first pose, and stays so.
    """
    if ground == "none":
        return Fitted(clip)
    if ground == "shift":
        return Fitted(shifted(clip, robot))
    return held(clip, robot, standing, wraps=wraps)


def own_joints_grounded(clip: Clip, robot: Robot, ground: Ground, *, wraps: bool = False) -> Fitted:
    """The same for a robot's own joints: `auto` leaves them as they are if feet neither slide nor sink and limits are kept."""
    if ground != "auto":
        return grounded(within_limits(clip, robot) if ground == "feet" else clip, robot, ground, wraps=wraps)
    wrong = faults(clip, robot)
    if not wrong:
        return Fitted(clip)
    done = held(within_limits(clip, robot), robot, wraps=wraps)
    most = np.abs(done.clip.joint_pos - clip.joint_pos).max()
    note = f"the file's {', '.join(wrong)}: its feet were held, joints turned by up to {most:.2f} rad"
    return Fitted(done.clip, (f"{note}; --ground none keeps it as it is", *done.notes))


def shifted(clip: Clip, robot: Robot) -> Clip:
    """The clip raised or lowered by one amount for all frames, so that the lowest point of all is on the ground."""
    lowest = trace(clip, robot).height.min()
    return replace(clip, root_pos_w=clip.root_pos_w - lowest * np.array([0.0, 0.0, 1.0]))


def held(clip: Clip, robot: Robot, standing: Sequence[np.ndarray] | None = None, *, wraps: bool = False) -> Fitted:
    """The clip with standing feet held, within the joints' limits; see `grounded`."""
    extra = round(CYCLE_PADDING * (len(clip.time) - 1) / clip.duration) if wraps else 0
    whole = cycles.padded(clip, extra) if wraps else clip
    if standing and wraps:
        _, frame = cycles.around(len(clip.time), extra)
        standing = [foot[frame] for foot in standing]
    down, stands = _is_down(whole, robot), standing or clip_standing(whole, robot)
    before = put_feet_on_ground(whole, robot, stands, down)
    after = _cut(clip, pinned(before, robot, [foot & ~down for foot in stands], extra), extra)
    if wraps:
        after = within_limits(cycles.close(after, cycles.SEAM), robot)
    slides = [sliding(one, robot).mean for one in (_cut(clip, before, extra), after)]
    note = f"feet on the ground slide at {slides[1]:.2f} m/s on average, {slides[0]:.2f} before they were held"
    return Fitted(after, (note,))


def _is_down(clip: Clip, robot: Robot) -> np.ndarray:
    """(T,) whether another body is as low as the feet: a crawling or lying body does not stand."""
    surface = trace(clip, robot)
    feet = np.isin(surface.body, robot.body_ids(robot.feet))
    return surface.height[:, ~feet].min(axis=1) < surface.height[:, feet].min(axis=1) + DOWN_HEIGHT


def faults(clip: Clip, robot: Robot) -> list[str]:
    """In words, the reasons why a clip's feet must be held, or its joints brought within their limits."""
    surface = trace(clip, robot)
    slide, deep = sliding(clip, robot).mean, floor_penetration(clip.time, surface.height, [*map(str, surface.body)]).max
    past, high = joint_limits(clip.joint_pos, robot.joint_range().double().numpy(), robot.joint_names), 0.0
    high = float(surface.height.min())
    found = {
        f"feet slide at {slide:.2f} m/s": slide > MAX_SLIDE_SPEED,
        f"lowest point is {100 * deep:.1f} cm in the ground": deep > MAX_HEIGHT_OFFSET,
        f"lowest point is {100 * high:.1f} cm over the ground": high > MAX_HEIGHT_OFFSET,
        f"{past.joint} is {past.worst:.2f} rad past its limit": past.violations > 0,
    }
    return [words for words, is_so in found.items() if is_so]


def _cut(clip: Clip, whole: Clip, extra: int) -> Clip:
    """A clip's own frames from the one with `extra` frames around them."""
    own = slice(extra, extra + len(clip.time))
    parts = {name: getattr(whole, name)[own] for name in ("root_pos_w", "root_quat_w", "joint_pos")}
    return replace(clip, **parts)
