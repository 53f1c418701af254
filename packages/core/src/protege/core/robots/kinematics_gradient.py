"""The gradient of forward kinematics in closed form, for training through it.

A small rotation of a hinge rotates all bodies beyond it about its axis. The gradient with respect to the hinge angle is therefore
the moment of the bodies' gradients about that axis, summed over the bodies beyond it, like a joint torque from external forces (the
transposed geometric Jacobian; Featherstone 2008, Rigid Body Dynamics Algorithms). This takes about ten operations, where automatic
differentiation records a hundred.

Components come first and the batch last: (3, B, N). `axes` (3, H, B, N) are the axes of the bodies' hinges in the world frame,
outermost first; `carried` (B, B) is 1 where the column's body is the row's body or a descendant; `places` (J,) are the joints'
indices in the flattened (H, B). Gradients of quaternions are tangential to the unit sphere.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from . import rotation as R

multiply, cross = (partial(f, dim=0) for f in (R.multiply, R.cross))


class PoseGradient(Function):
    """Backpropagates gradients of poses to root and joints. Returns `pos` (3, B, N) m and `quat` (4, B, N), computed before.

    Args:
        root_pos_w: (N, 3) m, from which pos and quat were computed, like `root_quat_w` (N, 4) and `joint_pos` (N, J) rad.
    """

    @staticmethod
    def forward(
        ctx: Any,
        root_pos_w: Tensor,
        root_quat_w: Tensor,
        joint_pos: Tensor,
        pos: Tensor,
        quat: Tensor,
        axes: Tensor,
        carried: Tensor,
        places: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(pos, quat, axes, carried, places)
        return pos.view_as(pos), quat.view_as(quat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_pos: Tensor, to_quat: Tensor) -> tuple[Tensor | None, ...]:
        pos, quat, axes, carried, places = ctx.saved_tensors
        arm = pos - pos[:, :1]
        moment = cross(arm, to_pos) + _torque(quat, to_quat)
        force, moment = _sums(carried, to_pos, moment)
        moment = moment - cross(arm, force)
        hinges = (axes * moment.unsqueeze(1)).sum(0)
        return force[:, 0].T, _to_root_quat(quat, moment), _joints(hinges, places), None, None, None, None, None


class StateGradient(Function):
    """The same for poses and velocities: `lin` (3, B, N) m/s and `ang` (3, B, N) rad/s.

    A hinge rotates the bodies beyond it and their velocities relative to the frame before the hinge, whose angular velocity is
    `before` (3, H, B, N) rad/s.
    """

    @staticmethod
    def forward(
        ctx: Any,
        root_pos_w: Tensor,
        root_quat_w: Tensor,
        root_lin_vel_w: Tensor,
        root_ang_vel_w: Tensor,
        joint_pos: Tensor,
        joint_vel: Tensor,
        pos: Tensor,
        quat: Tensor,
        lin: Tensor,
        ang: Tensor,
        axes: Tensor,
        before: Tensor,
        carried: Tensor,
        places: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(pos, quat, lin, ang, axes, before, carried, places)
        return tuple(x.view_as(x) for x in (pos, quat, lin, ang))

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, to_pos: Tensor, to_quat: Tensor, to_lin: Tensor, to_ang: Tensor
    ) -> tuple[Tensor | None, ...]:
        pos, quat, lin, ang, axes, before, carried, places = ctx.saved_tensors
        arm = pos - pos[:, :1]
        moment = cross(arm, to_pos) + _torque(quat, to_quat) + cross(ang, to_ang) + cross(lin, to_lin)
        force, moment, to_lin, spin = _sums(carried, to_pos, moment, to_lin, to_ang + cross(arm, to_lin))
        moment = moment - cross(arm, force) - cross(lin, to_lin)
        spin = spin - cross(arm, to_lin)
        at_hinges = moment.unsqueeze(1) - cross(before, spin.unsqueeze(1))
        at_root = moment - cross(ang, spin)
        return (
            force[:, 0].T,
            _to_root_quat(quat, at_root),
            to_lin[:, 0].T,
            spin[:, 0].T,
            _joints((axes * at_hinges).sum(0), places),
            _joints((axes * spin.unsqueeze(1)).sum(0), places),
            *[None] * 8,
        )


def _torque(quat: Tensor, grad: Tensor) -> Tensor:
    """The moment that corresponds to a gradient of rotations, (4, B, N) both -> (3, B, N). A small rotation v adds (0, v / 2) q."""
    (w, u), (grad_w, grad_u) = quat.split((1, 3)), grad.split((1, 3))
    return 0.5 * (w * grad_u - grad_w * u - cross(grad_u, u))


def _to_root_quat(quat: Tensor, moment: Tensor) -> Tensor:
    """The gradient (N, 4) of the root's rotation from the root's moment; the inverse of `_torque`."""
    root = moment[:, 0]
    return 2.0 * multiply(torch.cat([torch.zeros_like(root[:1]), root]), quat[:, 0]).T


def _sums(carried: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Sum each quantity (3, B, N) over a body and its descendants."""
    return (carried @ torch.cat(parts)).split(3)


def _joints(hinges: Tensor, places: Tensor) -> Tensor:
    """(H, B, N) -> (N, J)."""
    return hinges.flatten(0, 1)[places].T
