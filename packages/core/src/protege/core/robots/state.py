"""What is known of N robots at one moment."""

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass
class RobotState:
    """The full state of N robots, or of a reference motion. Leading dimensions may be any; (N, ...) is written here.

    World frame: x forward, y left, z up, metres and seconds; quaternions wxyz, unit length.

    Attributes:
        joint_pos: (N, J) rad.
        joint_vel: (N, J) rad/s.
        body_pos_w: (N, B, 3) m, origins of the body frames.
        body_quat_w: (N, B, 4).
        body_lin_vel_w: (N, B, 3) m/s, of the body frames' origins.
        body_ang_vel_w: (N, B, 3) rad/s.
    """

    joint_pos: Tensor
    joint_vel: Tensor
    body_pos_w: Tensor
    body_quat_w: Tensor
    body_lin_vel_w: Tensor
    body_ang_vel_w: Tensor

    @property
    def root_pos_w(self) -> Tensor:
        """(N, 3) m."""
        return self.body_pos_w[..., 0, :]

    @property
    def root_quat_w(self) -> Tensor:
        """(N, 4)."""
        return self.body_quat_w[..., 0, :]

    @property
    def root_lin_vel_w(self) -> Tensor:
        """(N, 3) m/s."""
        return self.body_lin_vel_w[..., 0, :]

    @property
    def root_ang_vel_w(self) -> Tensor:
        """(N, 3) rad/s."""
        return self.body_ang_vel_w[..., 0, :]

    def __getitem__(self, index) -> Self:
        """The same index or slice into the leading dimension of every field (a slice gives views)."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def clone(self) -> Self:
        return type(self)(**{f.name: getattr(self, f.name).clone() for f in fields(self)})

    @classmethod
    def empty(cls, shape: tuple[int, ...], joints: int, bodies: int, device: torch.device | str) -> Self:
        """Room in float32 for states whose leading dimensions are `shape`, to be filled."""
        joint, body = (*shape, joints), (*shape, bodies)
        sizes = (joint, joint, (*body, 3), (*body, 4), (*body, 3), (*body, 3))
        return cls(*(torch.empty(size, dtype=torch.float32, device=device) for size in sizes))

    @classmethod
    def cat(cls, states: list[Self]) -> Self:
        """Joined along the leading dimension."""
        return cls(**{f.name: torch.cat([getattr(s, f.name) for s in states]) for f in fields(cls)})
