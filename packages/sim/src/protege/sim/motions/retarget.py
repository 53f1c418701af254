"""Fitting joint rotations to a robot's hinges, and a clip to the ground."""

import numpy as np
import torch
from torch import Tensor

from protege.core import rotation as R
from protege.core.motion import Clip
from protege.core.robot import Robot

from ..engine import mujoco
from ..mjcf import build_spec


def hinge_angles(q: Tensor, limits: Tensor) -> Tensor:
    """Angles of a body's x, y and z hinges, in this order, that turn it by q.

    Of the two solutions of each frame the one nearer to the frame before is taken, without jumps of a whole turn; what the
    limits do not allow is clamped.

    Args:
        q: (T, 4) rotations in the parent's frame.
        limits: (3, 2) rad.

    Returns:
        (T, 3) rad.
    """
    w, x, y, z = q.double().unbind(-1)
    sin_y = (2.0 * (x * z + w * y)).clamp(-1.0, 1.0)
    first = torch.stack(
        [
            torch.atan2(2.0 * (w * x - y * z), 1.0 - 2.0 * (x * x + y * y)),
            torch.asin(sin_y),
            torch.atan2(2.0 * (w * z - x * y), 1.0 - 2.0 * (y * y + z * z)),
        ],
        dim=-1,
    )
    other = torch.stack([first[:, 0] + torch.pi, torch.pi - first[:, 1], first[:, 2] + torch.pi], dim=-1)
    middle = limits.double().mean(dim=1)
    previous, angles = middle, []
    for candidates in torch.stack([first, other], dim=1):
        near = previous + R.wrap_angle(candidates - previous)
        previous = near[(near - previous).square().sum(-1).argmin()]
        angles.append(previous)
    chain = torch.stack(angles)
    # A clip that starts a whole turn away from the hinge's range is brought into it.
    chain = chain - 2.0 * torch.pi * ((chain.mean(dim=0) - middle) / (2.0 * torch.pi)).round()
    return chain.clamp(limits[:, 0].double(), limits[:, 1].double())


def lowest_points(clip: Clip, robot: Robot, bodies: tuple[str, ...]) -> np.ndarray:
    """Height of the lowest point of each of these bodies' boxes in each frame, (T, len(bodies)) m."""
    model = build_spec(robot).compile()
    data = mujoco.MjData(model)
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1)
    geoms = [[g for g in range(model.ngeom) if model.geom_bodyid[g] == model.body(name).id] for name in bodies]
    heights = np.empty((len(clip.time), len(bodies)))
    for frame in range(len(clip.time)):
        data.qpos[:] = np.concatenate([clip.root_pos_w[frame], clip.root_quat_w[frame], clip.joint_pos[frame]])
        mujoco.mj_kinematics(model, data)
        for column, ids in enumerate(geoms):
            corners = [
                data.geom_xpos[g][2] + (data.geom_xmat[g].reshape(3, 3)[2] * model.geom_size[g]) @ signs for g in ids
            ]
            heights[frame, column] = np.concatenate(corners).min()
    return heights


def put_on_ground(clip: Clip, robot: Robot) -> Clip:
    """The clip raised or lowered as a whole, so that in a quarter of its frames the lowest foot point is at or below z = 0.

    The very lowest point of all would do for feet that fit the clip's; a longer foot dips at heel strike and toe-off, and
    the clip would hover everywhere else.
    """
    shift = np.quantile(lowest_points(clip, robot, robot.feet).min(axis=1), 0.25)
    root = clip.root_pos_w.copy()
    root[:, 2] -= shift
    return Clip(clip.name, clip.time, root, clip.root_quat_w, clip.joint_pos)
