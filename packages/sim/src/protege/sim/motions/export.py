"""Clips for other projects: a format is a function from a clip and its robot to the arrays of an .npz file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from protege.core.errors import UserError
from protege.core.files import write_atomically
from protege.core.motions import Clip
from protege.core.motions.table import frame_table
from protege.core.robots.robot import Robot

Arrays = dict[str, np.ndarray]


def mjlab_arrays(clip: Clip, robot: Robot) -> Arrays:
    """A clip as mjlab's tracking tasks read one, and BeyondMimic's: frames at the robot's control rate, float32.

    Bodies and joints are in the robot's order, which for mjlab has to be depth first. Velocities are central differences.

    Returns:
        `fps` (1,) Hz; `joint_pos` (T, J) rad; `joint_vel` (T, J) rad/s; of the bodies' origins, in the world frame: `body_pos_w`
        (T, B, 3) m, `body_quat_w` (T, B, 4) wxyz, `body_lin_vel_w` (T, B, 3) m/s; `body_ang_vel_w` (T, B, 3) rad/s.
    """
    rate = 1.0 / robot.control_dt
    state = frame_table([clip], robot, "cpu", rate)
    return {"fps": np.array([rate], np.float32)} | {name: x.numpy() for name, x in vars(state).items()}


FORMATS: dict[str, Callable[[Clip, Robot], Arrays]] = {"mjlab": mjlab_arrays}


def export_clip(clip: Clip, robot: Robot, kind: str, path: Path) -> Path:
    """Write a clip in another project's format, whole or not at all. `.npz` is added to a name without a suffix.

    Raises:
        UserError: no such format, a name with another suffix, or a folder that cannot be written.
    """
    if kind not in FORMATS:
        raise UserError(f"no format {kind!r} to export to", f"Known: {', '.join(FORMATS)}")
    path = path if path.suffix else path.with_suffix(".npz")
    if path.suffix != ".npz":
        raise UserError(f"{path} is not the name of an .npz file", "Let it end in .npz")
    arrays = FORMATS[kind](clip, robot)
    write_atomically(path, lambda file: np.savez(file, **arrays))  # pyright: ignore[reportArgumentType]
    return path
