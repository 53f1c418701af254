"""The observations of all policies, except for commands, which each task defines (`Modality.observe`).

All are pure functions of tensors. The environment calls them, and the student's exported graph contains them.
All are invariant to moving robot and command together over the ground and to turning them about the vertical axis.
Shapes: N robots, B bodies, J joints, K future frames. Frame `h` is the heading frame: at the root, yaw only.

Observations named `onboard...` need no position estimate: they contain neither the root's position, nor its height, nor its linear
velocity. Commands, such as the points of a path, are given relative to the robot and are the same for all sensors.
"""

import torch
from torch import Tensor

from .robots import rotation as R
from .robots.state import RobotState
from .robots.traced import traced

ROOT_FEATURES = 13
"""Number of root features at the start of `proprioception`; joints follow."""
POSE_FEATURES = 12
ONBOARD_POSE_FEATURES = 9
FULL_STATE, ONBOARD = SENSORS = ("full_state", "onboard")
"""The actor's sensors: the full state, or an IMU and joint encoders only."""


def proprioception(state: RobotState) -> Tensor:
    """The robot's own state, (N, 13 + 2 J + 3 (B - 1)).

    Root height (1, m), root rotation in h (6), root linear and angular velocity in h (3 m/s, 3 rad/s), joint positions
    (J, rad), joint velocities (J, rad/s), positions of all other bodies relative to the root in h (3 (B - 1), m).
    """
    root_pos, root_quat = state.root_pos_w, state.root_quat_w
    if traced():
        at_root = torch.cat([R.to_6d(root_quat), state.root_lin_vel_w, state.root_ang_vel_w], dim=1).reshape(-1, 4, 3)
        bodies = state.body_pos_w[:, 1:] - root_pos.unsqueeze(1)
        root, bodies = (to_heading(state, x).flatten(1) for x in (at_root, bodies))
        return torch.cat([root_pos[:, 2:], root, state.joint_pos, state.joint_vel, bodies], dim=1)
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
    """Number of features of `proprioception`."""
    return ROOT_FEATURES + 2 * num_joints + 3 * (num_bodies - 1)


def imu(state: RobotState, body: int, mount: Tensor) -> tuple[Tensor, Tensor]:
    """Readings of an IMU: its rotation in the world frame (N, 4) and its angular velocity in its own frame (N, 3), rad/s.

    Args:
        body: index of the body that carries the IMU.
        mount: (4,) rotation of the IMU in that body's frame.
    """
    quat = R.multiply(state.body_quat_w[:, body], mount.expand(len(state.joint_pos), 4))
    return quat, R.rotate_inverse(quat, state.body_ang_vel_w[:, body])


def onboard(
    imu_quat: Tensor,
    imu_ang_vel: Tensor,
    joint_pos: Tensor,
    joint_vel: Tensor,
    default_joint_pos: Tensor,
    last_action: Tensor,
) -> Tensor:
    """The robot's state as its onboard sensors measure it, (N, 6 + 3 J).

    Direction of gravity in the IMU's frame (3, unit vector), angular velocity in that frame (3, rad/s), joint positions relative to
    the default pose (J, rad), joint velocities (J, rad/s), the last action (J, see `Env.step`). The IMU's heading is not included
    and may drift.

    Args:
        imu_quat: (N, 4) rotation of the IMU's frame in a world frame whose z is up.
        imu_ang_vel: (N, 3) rad/s, in the IMU's frame.
        joint_pos, joint_vel: (N, J) rad, rad/s.
        default_joint_pos: (J,) rad.
        last_action: (N, J) the policy's previous action; 0 in the first step of an episode.
    """
    # Made from an input, so that the constants are created on its device and are part of an exported graph.
    level, up = torch.zeros_like(imu_ang_vel[:, :2]), torch.ones_like(imu_ang_vel[:, 2:])
    gravity = R.rotate_inverse(imu_quat, torch.cat([level, -up], dim=1))
    return torch.cat([gravity, imu_ang_vel, joint_pos - default_joint_pos, joint_vel, last_action], dim=1)


def onboard_size(num_joints: int) -> int:
    """Number of features of `onboard`."""
    return 6 + 3 * num_joints


def joint_errors(proprioception: Tensor, reference_joint_pos: Tensor, reference_joint_vel: Tensor) -> Tensor:
    """Joint state of the reference one control step ahead minus that of the robot, (N, 2 J) rad and rad/s.

    Args:
        proprioception: from the function of this name; its joints are used.
        reference_joint_pos: (N, J) rad; reference_joint_vel: (N, J) rad/s.
    """
    reference = torch.cat([reference_joint_pos, reference_joint_vel], dim=-1)
    return reference - proprioception[..., ROOT_FEATURES : ROOT_FEATURES + reference.shape[-1]]


def poses(state: RobotState, target_pos_w: Tensor, target_quat_w: Tensor) -> Tensor:
    """Future poses of a reference relative to the robot, (N, K, B, 12).

    Twelve numbers for each body, all in h: target position relative to the root (3, m), target position relative to the body's
    own (3, m), target rotation (6).

    Args:
        target_pos_w: (N, K, B, 3) m.
        target_quat_w: (N, K, B, 4).
    """
    from_root = target_pos_w - state.root_pos_w[:, None, None]
    from_body = target_pos_w - state.body_pos_w[:, None]
    if traced():
        return _in_heading(state, from_root, from_body, R.to_6d(target_quat_w))
    return _side_by_side(state, from_root.split(1, dim=-1), from_body.split(1, dim=-1), *R.two_columns(target_quat_w))


def onboard_poses(state: RobotState, target_pos_w: Tensor, target_quat_w: Tensor) -> Tensor:
    """Future poses of a reference for a robot that knows its heading but not its position, (N, K, B, 9).

    Nine numbers for each body, all in h: target position relative to the target root (3, m), or for the root its height over the
    ground (0, 0, m); target rotation (6), which gives the root's tilt and, relative to the parent's, the target joint angles.

    Args:
        state: only its heading is used.
        target_pos_w: (N, K, B, 3) m, with heights over the ground.
        target_quat_w: (N, K, B, 4).
    """
    root, others = target_pos_w[:, :, :1], target_pos_w[:, :, 1:]
    height = torch.cat([torch.zeros_like(root[..., :2]), root[..., 2:]], dim=-1)
    shape = torch.cat([height, others - root], dim=2)
    if traced():
        return _in_heading(state, shape, R.to_6d(target_quat_w))
    return _side_by_side(state, shape.split(1, dim=-1), *R.two_columns(target_quat_w))


def _side_by_side(state: RobotState, *vectors_w: tuple[Tensor, ...]) -> Tensor:
    """Rotate vectors from the world to the heading frames and concatenate them.

    Args:
        vectors_w: x, y and z of each vector, (N, K, B, 1) each.

    Returns:
        (N, K, B, 3 V) for V vectors.
    """
    # Vectors share the last dimension: CUDA concatenates tensors of at most four dimensions in one kernel.
    xs, ys, zs = zip(*vectors_w, strict=True)
    x, y = _turned(state, torch.cat(xs, dim=-1), torch.cat(ys, dim=-1))
    turned = zip(x.split(1, dim=-1), y.split(1, dim=-1), zs, strict=True)
    return torch.cat([component for vector in turned for component in vector], dim=-1)


def _in_heading(state: RobotState, *vectors_w: Tensor) -> Tensor:
    """The same of vectors with their components side by side, (N, K, B, 3 or 6) each."""
    together = torch.cat(vectors_w, dim=-1)
    return to_heading(state, together.reshape(-1, together[0].numel() // 3, 3)).reshape(-1, *together.shape[1:])


def to_heading(state: RobotState, vectors_w: Tensor) -> Tensor:
    """Rotate world vectors (N, ..., 2 or 3) into the robots' heading frames; only x and y change."""
    if traced():
        turn = state.into_heading if vectors_w.shape[-1] == 3 else state.into_level_heading
        turned = (vectors_w.unsqueeze(1) if vectors_w.ndim == 2 else vectors_w) @ turn
        return turned[:, 0] if vectors_w.ndim == 2 else turned
    x, y, *z = vectors_w.split(1, dim=-1)
    return torch.cat([*_turned(state, x, y), *z], dim=-1)


def _turned(state: RobotState, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate components x and y of world vectors, (N, ...) each, into the robots' heading frames."""
    cos, sin = (c.view(-1, *[1] * (x.ndim - 1)) for c in state.heading_cos_sin.unbind(dim=-1))
    return torch.addcmul(cos * x, sin, y), torch.addcmul(cos * y, sin, x, value=-1.0)
