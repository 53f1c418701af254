"""What every policy may observe, defined once; what commands look like is each task's own (`Modality.observe`).

Pure functions of tensors: the environment calls them, the student's exported graph contains them, the tests compare them.
All are unchanged when robot and command are moved over the ground or turned about the vertical together.
Shapes: N robots, B bodies, J joints, K future frames. Frame `h` is the heading frame: at the root, yaw only.
"""

import torch
from torch import Tensor

from .robots import rotation as R
from .robots.state import RobotState

POSE_FEATURES = 12


def proprioception(state: RobotState) -> Tensor:
    """The body as felt from inside, (N, 13 + 2 J + 3 (B - 1)).

    Root height (1, m), root rotation in h (6), root linear and angular velocity in h (3 m/s, 3 rad/s), joint positions
    (J, rad), joint velocities (J, rad/s), positions of all other bodies relative to the root in h (3 (B - 1), m).
    """
    root_pos, root_quat = state.root_pos_w, state.root_quat_w
    vectors_w = torch.cat(
        [
            torch.stack([*R.to_6d(root_quat).split(3, dim=1), state.root_lin_vel_w, state.root_ang_vel_w], dim=1),
            state.body_pos_w[:, 1:] - root_pos.unsqueeze(1),
        ],
        dim=1,
    )
    root, bodies = to_heading(state, vectors_w).flatten(1).split([12, 3 * (state.body_pos_w.shape[1] - 1)], dim=1)
    return torch.cat([root_pos[:, 2:], root, state.joint_pos, state.joint_vel, bodies], dim=1)


def proprioception_size(num_bodies: int, num_joints: int) -> int:
    """How many numbers `proprioception` gives."""
    return 13 + 2 * num_joints + 3 * (num_bodies - 1)


def poses(state: RobotState, target_pos_w: Tensor, target_quat_w: Tensor) -> Tensor:
    """Future poses of a reference seen from the robot, (N, K, B, 12).

    A body's twelve numbers, all in h: target position relative to the root (3, m), target position relative to the body's
    own (3, m), target rotation (6).

    Args:
        target_pos_w: (N, K, B, 3) m.
        target_quat_w: (N, K, B, 4).
    """
    from_root = target_pos_w - state.root_pos_w[:, None, None]
    from_body = target_pos_w - state.body_pos_w[:, None]
    vectors_w = (from_root.split(1, dim=-1), from_body.split(1, dim=-1), *R.two_columns(target_quat_w))
    # Vectors side by side and not in a dimension of their own: CUDA joins tensors of up to four dimensions at once.
    xs, ys, zs = zip(*vectors_w, strict=True)
    x, y = _turned(state, torch.cat(xs, dim=-1), torch.cat(ys, dim=-1))
    turned = zip(x.split(1, dim=-1), y.split(1, dim=-1), zs, strict=True)
    return torch.cat([component for vector in turned for component in vector], dim=-1)


def to_heading(state: RobotState, vectors_w: Tensor) -> Tensor:
    """World vectors (N, ..., 2 or 3) in the heading frames of robots: only x and y turn."""
    x, y, *z = vectors_w.split(1, dim=-1)
    return torch.cat([*_turned(state, x, y), *z], dim=-1)


def _turned(state: RobotState, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Components x and y of world vectors, (N, ...) each, in the heading frames of robots."""
    cos, sin = (c.view(-1, *[1] * (x.ndim - 1)) for c in state.ahead.unbind(dim=-1))
    return torch.addcmul(cos * x, sin, y), torch.addcmul(cos * y, sin, x, value=-1.0)
