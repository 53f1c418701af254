"""Clips that loop: the gap between their ends is spread over them, and they are repeated."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from protege.core.motions import Clip, Finding
from protege.core.robots import rotation as R

MIN_REPEATED_SECONDS = 10.0
"""s, least length of a repeated cycle."""
SEAM = 0.25
"""s at either end of a cycle over which the gap is spread; the rest stays unchanged."""
WIDE_GAP = 0.2
"""rad: with a larger gap between its first and last pose, a cycle gets a warning."""


def gap(clip: Clip, joint_names: Sequence[str]) -> tuple[Finding, ...]:
    """A warning if a cycle's last pose is far from its first one."""
    off = np.abs(clip.joint_pos[-1] - clip.joint_pos[0])
    worst = int(off.argmax())
    if off[worst] <= WIDE_GAP:
        return ()
    problem = f"the cycle fails to close by {off[worst]:.2f} rad, {joint_names[worst]}'s, which is spread over its ends"
    return (Finding("warning", "joint_pos", len(clip.time) - 1, problem, "Cut it where the first pose comes again"),)


def close(clip: Clip, seam: float | None = None) -> Clip:
    """The cycle with its gap spread over it: height, tilt and joints end where they began.

    Joints may exceed the robot's limits afterwards, see `ground.within_limits`.

    Args:
        seam: s at both ends over which the gap is spread, so that the rest stays unchanged; None for the whole cycle.
    """
    share = _seam(clip.time - clip.time[0], seam) if seam else ((clip.time - clip.time[0]) / clip.duration)[:, None]
    root = clip.root_pos_w.copy()
    root[:, 2:] -= share * (root[-1, 2:] - root[0, 2:])
    quat = torch.from_numpy(clip.root_quat_w)
    gap = R.to_rotation_vector(R.multiply(R.conjugate(quat[-1]), quat[0]))
    quat = R.multiply(quat, R.from_rotation_vector(torch.from_numpy(share) * gap)).numpy()
    joint_pos = clip.joint_pos - share * (clip.joint_pos[-1] - clip.joint_pos[0])
    return Clip(clip.name, clip.time, root, quat, joint_pos)


def _seam(time: np.ndarray, seam: float) -> np.ndarray:
    """(T, 1) from -0.5 at the start to 0.5 at the end, by a cosine within `seam` s of either, 0 in between."""
    seam = min(seam, time[-1] / 2.0)
    near = [0.5 * (1.0 + np.cos(np.pi * np.minimum(away / seam, 1.0))) for away in (time, time[-1] - time)]
    return 0.5 * (near[1] - near[0])[:, None]


def around(count: int, extra: int) -> tuple[np.ndarray, np.ndarray]:
    """Repetition and frame index in a cycle of `count` frames, with `extra` frames before and after it."""
    turn, frame = np.divmod(np.arange(-extra, count + extra), count - 1)
    return turn, frame


def padded(clip: Clip, extra: int) -> Clip:
    """The cycle with `extra` frames of the repetitions before and after it, with continued travel."""
    turn, frame = around(len(clip.time), extra)
    travel = (clip.root_pos_w[-1] - clip.root_pos_w[0]) * [1.0, 1.0, 0.0]
    return Clip(
        clip.name,
        clip.time[frame] + turn * clip.duration,
        clip.root_pos_w[frame] + np.multiply.outer(turn, travel),
        clip.root_quat_w[frame],
        clip.joint_pos[frame],
    )


def repeat(clip: Clip) -> Clip:
    """The cycle repeated for ten seconds or more, with continued travel."""
    travel = (clip.root_pos_w[-1] - clip.root_pos_w[0]) * [1.0, 1.0, 0.0]
    cycles = math.ceil(MIN_REPEATED_SECONDS / clip.duration)
    rows = [(k, slice(0, -1)) for k in range(cycles - 1)] + [(cycles - 1, slice(None))]
    return Clip(
        clip.name,
        np.concatenate([clip.time[part] + k * clip.duration for k, part in rows]),
        np.concatenate([clip.root_pos_w[part] + k * travel for k, part in rows]),
        np.concatenate([clip.root_quat_w[part] for _, part in rows]),
        np.concatenate([clip.joint_pos[part] for _, part in rows]),
    )
