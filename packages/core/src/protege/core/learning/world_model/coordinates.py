"""State vectors of N floating-base robots, and their changes over a control step.

A state `x` is (N, 13 + 2 J): the root's position in the world frame (3, m), its rotation (4, wxyz), its linear and angular velocity
in its own frame (3 m/s, 3 rad/s), joint positions (J, rad) and joint velocities (J, rad/s).

A change is (N, 12 + 2 J): the root's displacement in its frame (3, m), its rotation vector in its frame (3, rad), then the
differences of both velocities (3 m/s, 3 rad/s), joint positions (J, rad) and joint velocities (J, rad/s). It does not depend on the
robot's position or heading. Changes of positions are separate from those of velocities: over several physics steps, a position is
not the integral of the final velocity.
"""

import torch
from torch import Tensor

from ...robots import rotation as R
from ...robots.kinematics import Kinematics
from ...robots.state import RobotState

ROOT, ROOT_CHANGE = 13, 12
"""Root components of a state and of a change."""
QUAT_W = 3
"""Index in a state of the real part of the root's rotation."""


def size(num_joints: int) -> int:
    """Length of a state vector."""
    return ROOT + 2 * num_joints


def change_size(num_joints: int) -> int:
    """Length of a change vector."""
    return ROOT_CHANGE + 2 * num_joints


def pack(state: RobotState) -> Tensor:
    """State vectors (N, 13 + 2 J) of full robot states."""
    quat = state.root_quat_w
    velocities = (R.rotate_inverse(quat, v) for v in (state.root_lin_vel_w, state.root_ang_vel_w))
    return torch.cat([state.root_pos_w, quat, *velocities, state.joint_pos, state.joint_vel], dim=-1)


def unpack(x: Tensor) -> tuple[Tensor, ...]:
    """Split x into root position, rotation, linear and angular velocity in its frame, joint positions and velocities."""
    joints = (x.shape[-1] - ROOT) // 2
    return x.split([3, 4, 3, 3, joints, joints], dim=-1)


def full_state(kinematics: Kinematics, x: Tensor) -> RobotState:
    """Full robot states by forward kinematics: (N, 13 + 2 J) -> (N, ...)."""
    pos, quat, lin, ang, joint_pos, joint_vel = unpack(x)
    return kinematics.state(pos, quat, R.rotate(quat, lin), R.rotate(quat, ang), joint_pos, joint_vel)


def difference(x: Tensor, other: Tensor) -> Tensor:
    """The change from x to other, (N, 12 + 2 J)."""
    (pos, quat, *rest), (pos2, quat2, *rest2) = unpack(x), unpack(other)
    displacement = R.rotate_inverse(quat, pos2 - pos)
    turn = R.to_rotation_vector(R.multiply(R.conjugate(quat), quat2))
    return torch.cat([displacement, turn, *(b - a for a, b in zip(rest, rest2, strict=True))], dim=-1)


def add(x: Tensor, change: Tensor) -> Tensor:
    """Apply a change to a state, (N, 13 + 2 J); the inverse of `difference`."""
    pos, quat, *rest = unpack(x)
    joints = rest[-1].shape[-1]
    displacement, turn, *deltas = change.split([3, 3, 3, 3, joints, joints], dim=-1)
    quat2 = R.normalize(R.multiply(quat, R.from_rotation_vector(turn)))
    return torch.cat(
        [pos + R.rotate(quat, displacement), quat2, *(a + d for a, d in zip(rest, deltas, strict=True))], dim=-1
    )


def drift(x: Tensor, dt: float) -> Tensor:
    """The change over `dt` s at constant velocities, (N, 12 + 2 J)."""
    _, _, lin, ang, _, joint_vel = unpack(x)
    return torch.cat(
        [dt * lin, dt * ang, torch.zeros_like(lin), torch.zeros_like(ang), dt * joint_vel, 0.0 * joint_vel], dim=-1
    )
