"""Clips as one table of frames at an even rate, filled piece by piece: memory holds the table and little else."""

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

PIECE = 4096
"""Frames that are computed together: few calls for thousands of short clips, and a bounded memory for a long one."""


def frame_counts(clips: Sequence[Clip], rate: float) -> np.ndarray:
    """(C,) frames of each clip at `rate` Hz, at least three; what is left after the last whole one is dropped."""
    return np.array([max(3, int(clip.duration * rate + 1e-6) + 1) for clip in clips])


def frame_table(clips: Sequence[Clip], robot: Robot, device: torch.device | str, rate: float) -> RobotState:
    """The frames of all clips, one clip after the other, (F, ...) in float32 on the device.

    Root and joints are interpolated, body poses come from forward kinematics, velocities from central differences, at the ends
    of a clip from one side. All is computed in double precision. If it takes long, stderr says how far it is.
    """
    starts = np.cumsum([0, *frame_counts(clips, rate)])  # and where one more clip would start
    count, kinematics = int(starts[-1]), Kinematics(robot).double()
    table = RobotState.empty((count,), robot.num_joints, robot.num_bodies, device)
    with Progress("motion clips on the device", len(clips)) as progress:
        for begin in range(0, count, PIECE):
            end = min(begin + PIECE, count)
            piece = _rows(clips, starts, begin, end, kinematics, rate)
            for name, x in vars(table).items():
                x[begin:end] = getattr(piece, name)
            progress.at(bisect_right(starts, end) - 1)
    return table


def _rows(
    clips: Sequence[Clip], starts: np.ndarray, begin: int, end: int, kinematics: Kinematics, rate: float
) -> RobotState:
    """Rows begin to end of the table, in double precision."""
    # For the differences, with the row before and the one after.
    wide = np.arange(max(begin - 1, 0), min(end + 1, starts[-1]))
    # A clip's first row has none before it, its last one none after it.
    rows = np.arange(begin, end)
    here = torch.from_numpy(rows - wide[0])
    before = here - torch.from_numpy(~np.isin(rows, starts)).long()
    after = here + torch.from_numpy(~np.isin(rows + 1, starts)).long()
    return states(_poses(clips, starts, wide, rate), before, here, after, kinematics, rate)


def states(
    poses: Sequence[Tensor], before: Tensor, here: Tensor, after: Tensor, kinematics: Kinematics, rate: float
) -> RobotState:
    """Body poses and velocities of n rows among M poses at an even rate.

    Args:
        poses: root position (M, 3) m, root rotation (M, 4) and joint angles (M, J) rad.
        before, here, after: (n,) of each row the pose before it, its own and the one after it; at the ends of a clip its own.
        kinematics: of the poses' type and device.
        rate: poses a second.

    Returns:
        (n, ...), of the poses' type.
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
        body_ang_vel_w=(turn[before] + turn[after - 1]) / 2.0,  # from the row before, and to the one after
    )


def _poses(clips: Sequence[Clip], starts: np.ndarray, rows: np.ndarray, rate: float) -> tuple[Tensor, ...]:
    """The clips' poses in n rows of the table: root position (n, 3) m, root rotation (n, 4), joint angles (n, J) rad."""
    parts = []
    for i in range(bisect_right(starts, rows[0]) - 1, bisect_right(starts, rows[-1])):
        own = rows[(rows >= starts[i]) & (rows < starts[i + 1])] - starts[i]
        parts.append(clips[i].at(own / rate))
    return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
