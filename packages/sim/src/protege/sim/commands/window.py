"""A sliding window over each world's reference motion, so that every frame is computed once.

The window holds control steps t - 1 ... t + F of the reference, F the furthest future frame that anybody looks at. One step
on, all frames but the last have only moved down by one.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.state import RobotState

Frames = tuple[Tensor, Tensor, Tensor]
"""joint_pos (n, W, J) rad, body_pos_w (n, W, B, 3) m, body_quat_w (n, W, B, 4)."""

FrameSource = Callable[[Tensor, Tensor], Frames]
"""(rows (n,), control steps (n, W)) -> frames of those rows' references at those steps of their episodes."""


class ReferenceWindow:
    """Frames t - 1 ... t + F of N references.

    Args:
        num_envs: N.
        future_frames: which steps ahead `future` returns; the largest sets F.
        dt: control period, s.
    """

    def __init__(
        self, num_envs: int, num_bodies: int, num_joints: int, future_frames: tuple[int, ...], dt: float, device
    ) -> None:
        self.dt = dt
        self.width = max(future_frames) + 2
        self.future_index = torch.tensor(future_frames, device=device) + 1
        self.offsets = torch.arange(-1, self.width - 1, device=device)
        self.joint_pos = torch.zeros(num_envs, self.width, num_joints, device=device)
        self.body_pos_w = torch.zeros(num_envs, self.width, num_bodies, 3, device=device)
        self.body_quat_w = torch.zeros(num_envs, self.width, num_bodies, 4, device=device)

    @property
    def _tensors(self) -> Frames:
        return self.joint_pos, self.body_pos_w, self.body_quat_w

    def fill(self, rows: Tensor, source: FrameSource, step: Tensor) -> None:
        """Compute the whole window of some rows, standing at control step `step` (n,) of their episodes."""
        frames = source(rows, step[:, None] + self.offsets)
        for window, new in zip(self._tensors, frames, strict=True):
            window[rows] = new

    def advance(self, source: FrameSource, step: Tensor) -> None:
        """Move every row on to control step `step` (N,), computing the one new frame."""
        rows = torch.arange(len(step), device=step.device)
        frames = source(rows, step[:, None] + self.offsets[-1:])
        for window, new in zip(self._tensors, frames, strict=True):
            window[:, :-1] = window[:, 1:].clone()
            window[:, -1:] = new

    def now(self, rows: Tensor | slice) -> RobotState:
        """The reference at step t; velocities are central differences of the frames around it."""
        joint_pos, pos, quat = (tensor[rows] for tensor in self._tensors)
        turn = R.multiply(quat[:, 2], R.conjugate(quat[:, 0]))
        return RobotState(
            joint_pos=joint_pos[:, 1],
            joint_vel=(joint_pos[:, 2] - joint_pos[:, 0]) / (2.0 * self.dt),
            body_pos_w=pos[:, 1],
            body_quat_w=quat[:, 1],
            body_lin_vel_w=(pos[:, 2] - pos[:, 0]) / (2.0 * self.dt),
            body_ang_vel_w=R.to_rotation_vector(turn) / (2.0 * self.dt),
        )

    def future(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Poses at the future frames: body_pos_w (n, K, B, 3), body_quat_w (n, K, B, 4)."""
        return self.body_pos_w[rows][:, self.future_index], self.body_quat_w[rows][:, self.future_index]

    def next_joint_pos(self, rows: Tensor | slice) -> Tensor:
        """Joint angles one control step ahead, (n, J) rad."""
        return self.joint_pos[rows, 2]
