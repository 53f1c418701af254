"""The full state of N robots at one time."""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from . import rotation as R
from .traced import into_heading


@dataclass
class RobotState:
    """The full state of N robots, or of a reference motion. The leading dimensions, written as N here, may be any.

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

    @property
    def heading_cos_sin(self) -> Tensor:
        """(N, 2) cosine and sine of the root's heading; see `rotation.yaw_cos_sin`."""
        return R.yaw_cos_sin(self.root_quat_w)

    @property
    def into_heading(self) -> Tensor:
        """(N, 3, 3) matrices that rotate row vectors from the world into the root's heading frame."""
        return into_heading(self.heading_cos_sin)

    @property
    def into_level_heading(self) -> Tensor:
        """(N, 2, 2) the same for horizontal vectors."""
        return into_heading(self.heading_cos_sin, level=True)

    def __getitem__(self, index) -> Self:
        """Index or slice the leading dimension of every field (a slice gives views)."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def clone(self) -> Self:
        return type(self)(**{f.name: getattr(self, f.name).clone() for f in fields(self)})

    @classmethod
    def empty(cls, shape: tuple[int, ...], joints: int, bodies: int, device: torch.device | str) -> Self:
        """Uninitialised float32 states with the leading dimensions `shape`."""
        joint, body = (*shape, joints), (*shape, bodies)
        sizes = (joint, joint, (*body, 3), (*body, 4), (*body, 3), (*body, 3))
        return cls(*(torch.empty(size, dtype=torch.float32, device=device) for size in sizes))

    @classmethod
    def cat(cls, states: list[Self]) -> Self:
        """Concatenate along the leading dimension; a single state is not copied."""
        return states[0] if len(states) == 1 else cls(*(torch.cat(x) for x in zip(*map(_values, states), strict=True)))


class Snapshot(RobotState):
    """A state whose tensors do not change while it is in use, so that its heading is computed only once."""

    @classmethod
    def of(cls, state: RobotState) -> Self:
        """A snapshot that shares the state's tensors."""
        return cls(*_values(state))

    @cached_property
    def heading_cos_sin(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return super().heading_cos_sin

    @cached_property
    def into_heading(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return super().into_heading

    @cached_property
    def into_level_heading(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return super().into_level_heading


def _values(state: RobotState) -> list[Tensor]:
    return [getattr(state, f.name) for f in fields(state)]
