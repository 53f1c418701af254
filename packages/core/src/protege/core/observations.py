"""Every observation, defined once.

Pure functions of tensors: the environment calls them, the student's exported graph contains them, the tests compare them.
All are unchanged when robot and command are moved over the ground or turned about the vertical together.
Shapes: N robots, B bodies, J joints, K future frames. Frame `h` is the heading frame: at the root, yaw only.
"""

import torch
from torch import Tensor

from . import rotation as R
from .state import RobotState

POSE_FEATURES = 12


def proprioception(state: RobotState) -> Tensor:
    """The body as felt from inside, (N, 13 + 2 J + 3 (B - 1)).

    Root height (1, m), root rotation in h (6), root linear and angular velocity in h (3 m/s, 3 rad/s), joint positions
    (J, rad), joint velocities (J, rad/s), positions of all other bodies relative to the root in h (3 (B - 1), m).
    """
    inverse = R.conjugate(R.heading(state.root_quat_w))
    root = state.root_pos_w
    body_pos_h = R.rotate(inverse.unsqueeze(1), state.body_pos_w[:, 1:] - root.unsqueeze(1))
    return torch.cat(
        [
            root[:, 2:],
            R.to_6d(R.multiply(inverse, state.root_quat_w)),
            R.rotate(inverse, state.root_lin_vel_w),
            R.rotate(inverse, state.root_ang_vel_w),
            state.joint_pos,
            state.joint_vel,
            body_pos_h.flatten(1),
        ],
        dim=1,
    )


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
    inverse = R.conjugate(R.heading(state.root_quat_w))[:, None, None]
    from_root = R.rotate(inverse, target_pos_w - state.root_pos_w[:, None, None])
    from_body = R.rotate(inverse, target_pos_w - state.body_pos_w[:, None])
    return torch.cat([from_root, from_body, R.to_6d(R.multiply(inverse, target_quat_w))], dim=-1)


def path(state: RobotState, points_w: Tensor) -> Tensor:
    """Points that the pelvis should pass, seen from the robot: (N, P, 2) m in h. points_w: (N, P, 2) m."""
    return _to_heading_2d(state.root_quat_w, points_w - state.root_pos_w[:, None, :2])


def goal(state: RobotState, point_w: Tensor, time_left: Tensor) -> Tensor:
    """Where to be and by when: (N, 3) = position in h (2, m), time left (1, s). point_w: (N, 2) m, time_left: (N,) s."""
    offset = _to_heading_2d(state.root_quat_w, (point_w - state.root_pos_w[:, :2]).unsqueeze(1)).squeeze(1)
    return torch.cat([offset, time_left.unsqueeze(1)], dim=1)


def steering(state: RobotState, direction_w: Tensor, speed: Tensor, facing_w: Tensor | None = None) -> Tensor:
    """Where to go and how fast: (N, 3) = unit direction in h (2), speed (1, m/s); (N, 5) with the direction to face in h (2).

    Args:
        direction_w: (N, 2) unit vectors.
        speed: (N,) m/s.
        facing_w: (N, 2) unit vectors, or None.
    """
    vectors = [_to_heading_2d(state.root_quat_w, direction_w.unsqueeze(1)).squeeze(1), speed.unsqueeze(1)]
    if facing_w is not None:
        vectors.append(_to_heading_2d(state.root_quat_w, facing_w.unsqueeze(1)).squeeze(1))
    return torch.cat(vectors, dim=1)


def _to_heading_2d(root_quat_w: Tensor, vectors_w: Tensor) -> Tensor:
    """(N, 4), (N, P, 2) world -> (N, P, 2) heading frame."""
    angle = R.yaw(root_quat_w).unsqueeze(1)
    cos, sin = angle.cos(), angle.sin()
    x, y = vectors_w.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x], dim=-1)
