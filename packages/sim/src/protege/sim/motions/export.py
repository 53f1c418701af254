"""Clips for other projects: a format writes a clip of a robot to a file, at a frame rate."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from protege.core.errors import UserError
from protege.core.files import write_atomically
from protege.core.motions import Clip
from protege.core.motions.table import frame_counts, frame_table
from protege.core.robots.robot import Robot

from .export_protomotions import write_motion

DIGITS = 9
"""Decimals in a table: metres, radians and quaternions to 1e-9."""


@dataclass(frozen=True)
class Format:
    """Another project's format.

    Attributes:
        suffix: of its files.
        rate: default frames per second; None for the robot's control rate.
        write: writes a clip of a robot, at a rate, to an open file.
    """

    suffix: str
    rate: float | None
    write: Callable[[Clip, Robot, float, BinaryIO], None]


def mjlab_arrays(clip: Clip, robot: Robot, rate: float) -> dict[str, np.ndarray]:
    """A clip in the format of mjlab's tracking tasks and of BeyondMimic, float32.

    Bodies and joints are in the robot's order, which must be depth first for mjlab. Velocities are central differences.

    Returns:
        `fps` (1,) Hz; `joint_pos` (T, J) rad; `joint_vel` (T, J) rad/s; of the bodies' origins, in the world frame: `body_pos_w`
        (T, B, 3) m, `body_quat_w` (T, B, 4) wxyz, `body_lin_vel_w` (T, B, 3) m/s; `body_ang_vel_w` (T, B, 3) rad/s.
    """
    state = frame_table([clip], robot, "cpu", rate)
    return {"fps": np.array([rate], np.float32)} | {name: x.numpy() for name, x in vars(state).items()}


def csv_table(clip: Clip, rate: float) -> np.ndarray:
    """(T, 7 + J) a clip as in Unitree's LAFAN1 tables: root position m, quaternion xyzw, joints rad in their order."""
    count = int(frame_counts([clip], rate)[0])
    pos, quat, joint_pos = clip.at(np.arange(count) / rate)
    return np.concatenate([pos, np.roll(quat, -1, axis=1), joint_pos], axis=1)


def _write_mjlab(clip: Clip, robot: Robot, rate: float, file: BinaryIO) -> None:
    np.savez(file, **mjlab_arrays(clip, robot, rate))  # pyright: ignore[reportArgumentType]


def _write_csv(clip: Clip, robot: Robot, rate: float, file: BinaryIO) -> None:
    np.savetxt(file, csv_table(clip, rate), fmt=f"%.{DIGITS}f", delimiter=",")


FORMATS = {
    "mjlab": Format(".npz", None, _write_mjlab),
    "csv": Format(".csv", 30.0, _write_csv),
    "proto": Format(".motion", 30.0, write_motion),
}


def export_clip(clip: Clip, robot: Robot, kind: str, path: Path, fps: float | None = None) -> Path:
    """Write a clip in another project's format, atomically. A name without a suffix gets the format's.

    Args:
        kind: one of `FORMATS`.
        fps: frames a second; None for the format's own rate.

    Raises:
        UserError: an unknown format, a name with another suffix, or a folder that cannot be written.
    """
    if kind not in FORMATS:
        raise UserError(f"no format {kind!r} to export to", f"Known: {', '.join(FORMATS)}")
    form = FORMATS[kind]
    path = path if path.suffix else path.with_suffix(form.suffix)
    if path.suffix != form.suffix:
        name = f"{'an' if form.suffix == '.npz' else 'a'} {form.suffix} file"
        raise UserError(f"{path} is not the name of {name}", f"Let it end in {form.suffix}")
    rate = fps or form.rate or 1.0 / robot.control_dt
    write_atomically(path, lambda file: form.write(clip, robot, rate, file))
    return path
