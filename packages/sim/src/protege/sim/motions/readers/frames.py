"""Converts a motion to metres and z up, by the user's options."""

from dataclasses import replace

import numpy as np

from protege.core.errors import UserError

from ..source import JointMotion, SkeletonMotion, SourceMotion
from .options import UNITS, Options
from .orientation import Y_UP, after, turned

MAX_ROOT_HEIGHT = 3.0
"""m, largest median height of a root: greater heights mean another unit."""


def oriented(motion: SourceMotion, options: Options) -> SourceMotion:
    """The motion with lengths in metres and z up.

    The bodies' own frames stay as they are: the world frame is rotated.

    Raises:
        UserError: the root is usually so high that the unit must be another one.
    """
    pos, quat = motion.root_pos_w * options.metres, motion.root_quat_w
    if options.up == "y":
        pos, quat = turned(Y_UP, pos), after(Y_UP, quat)
    _check_height(pos, motion.file, options)
    if isinstance(motion, SkeletonMotion):
        skeleton = replace(motion.skeleton, offsets=motion.skeleton.offsets * options.metres)
        rotations = np.concatenate([quat[:, None], motion.rotations[:, 1:]], axis=1)
        return replace(motion, root_pos_w=pos, root_quat_w=quat, skeleton=skeleton, rotations=rotations)
    return _joints(replace(motion, root_pos_w=pos, root_quat_w=quat), options)


def _joints(motion: JointMotion, options: Options) -> JointMotion:
    if motion.body_pos_w is None:
        return motion
    bodies = motion.body_pos_w * options.metres
    return replace(motion, body_pos_w=turned(Y_UP, bodies) if options.up == "y" else bodies)


def _check_height(pos: np.ndarray, file: str, options: Options) -> None:
    """Reject heights in another unit, and name the unit that fits."""
    height = float(np.median(np.abs(pos[:, 2])))
    if height <= MAX_ROOT_HEIGHT or options.unit is not None:
        return
    fits = [unit for unit in ("cm", "mm") if 0.1 < height * UNITS[unit] < MAX_ROOT_HEIGHT]
    guess = f" (is it in {fits[0]}?)" if fits else ""
    raise UserError(
        f"{file}: the root is {height:.4g} m high in the median{guess}", f"Add --unit {fits[0] if fits else 'm|cm'}"
    )
