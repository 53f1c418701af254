"""Clips as one table of frames at a constant rate. It is filled piece by piece, to use little memory beyond the table."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..progress import Progress
from ..robots import rotation as R
from ..robots.kinematics import Kinematics
from ..robots.robot import Robot
from ..robots.state import RobotState
from .clip import Clip

PIECE_ROWS = 4096
"""Frames that are computed together: few calls for thousands of short clips, and bounded memory for a long one."""


def frame_counts(clips: Sequence[Clip], rate: float) -> np.ndarray:
    """(C,) number of frames of each clip at `rate` Hz, at least three; the rest after the last frame is dropped."""
    return np.array([max(3, int(clip.duration * rate + 1e-6) + 1) for clip in clips])


def frame_table(clips: Sequence[Clip], robot: Robot, device: torch.device | str, rate: float) -> RobotState:
    """The frames of all clips in the clips' order, (F, ...), in float32 on the device.

    Root and joints are interpolated. Body poses come from forward kinematics, velocities from central differences, one-sided at the
    ends of a clip. All is computed in double precision. If it takes long, progress is printed to stderr.
    """
    starts = np.cumsum([0, *frame_counts(clips, rate)])  # and the end of the last clip
    count, kinematics = int(starts[-1]), Kinematics(robot).double()
    table = RobotState.empty((count,), robot.num_joints, robot.num_bodies, device)
    with Progress("motion clips on the device", len(clips)) as progress:
        for begin in range(0, count, PIECE_ROWS):
            end = min(begin + PIECE_ROWS, count)
            piece = _rows(clips, starts, begin, end, kinematics, rate)
            for name, x in vars(table).items():
                x[begin:end] = getattr(piece, name)
            progress.at(bisect_right(starts, end) - 1)
    return table


def _rows(
    clips: Sequence[Clip], starts: np.ndarray, begin: int, end: int, kinematics: Kinematics, rate: float
) -> RobotState:
    """Rows begin to end of the table, in double precision."""
    # Including one row before and one after, for the differences.
    wide = np.arange(max(begin - 1, 0), min(end + 1, starts[-1]))
    # A clip's first and last rows use one-sided differences.
    rows = np.arange(begin, end)
    here = torch.from_numpy(rows - wide[0])
    before = here - torch.from_numpy(~np.isin(rows, starts)).long()
    after = here + torch.from_numpy(~np.isin(rows + 1, starts)).long()
    return states(_poses(clips, starts, wide, rate), before, here, after, kinematics, rate)


def states(
    poses: Sequence[Tensor], before: Tensor, here: Tensor, after: Tensor, kinematics: Kinematics, rate: float
) -> RobotState:
    """Body poses and velocities of n rows among M poses at a constant rate.

    Args:
        poses: root position (M, 3) m, root rotation (M, 4) and joint angles (M, J) rad.
        before, here, after: (n,) index of each row's previous pose, its own and the next one; its own at the ends of a clip.
        kinematics: with the poses' type and device.
        rate: of the poses, Hz.

    Returns:
        (n, ...), with the poses' type.
    """
    root_pos, quat, joint_pos = poses
    body_pos, body_quat = kinematics(root_pos, quat, joint_pos)
    turn = R.to_rotation_vector(R.multiply(body_quat[1:], R.conjugate(body_quat[:-1]))) * rate

    def change(x: Tensor) -> Tensor:
        return (x[after] - x[before]) / ((after - before).double() / rate).reshape(-1, *[1] * (x.ndim - 1))

    return RobotState(
        joint_pos=joint_pos[here],
        joint_vel=change(joint_pos),
        body_pos_w=body_pos[here],
        body_quat_w=body_quat[here],
        body_lin_vel_w=change(body_pos),
        body_ang_vel_w=(turn[before] + turn[after - 1]) / 2.0,  # mean of the rates before and after
    )


def _poses(clips: Sequence[Clip], starts: np.ndarray, rows: np.ndarray, rate: float) -> tuple[Tensor, ...]:
    """Poses of n rows of the table: root position (n, 3) m, root rotation (n, 4), joint angles (n, J) rad."""
    parts = []
    for i in range(bisect_right(starts, rows[0]) - 1, bisect_right(starts, rows[-1])):
        own = rows[(rows >= starts[i]) & (rows < starts[i + 1])] - starts[i]
        parts.append(clips[i].at(own / rate))
    return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
