"""The gradient of forward kinematics in closed form, for learning through it.

Turning a hinge by a small angle turns all that it carries about its axis. So the gradient for the hinge is the moment of the
bodies' gradients about that axis, summed over the bodies that it carries, as the force at a joint is the sum of forces beyond
it (the transposed geometric Jacobian; Featherstone 2008, Rigid Body Dynamics Algorithms). That is some ten operations, where
automatic differentiation records a hundred.

Components come first and the batch last: (3, B, N). `axes` (3, H, B, N) are the bodies' hinges in the world frame, outermost
first; `carried` (B, B) is 1 where the column is the row's body or hangs on it; `places` (J,) says where each joint is in (H, B).
Gradients of quaternions are those along unit quaternions: nothing pulls at their length.
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
    """Lets gradients of poses reach root and joints. Its results are `pos` (3, B, N) m and `quat` (4, B, N), computed before.

    Args:
        root_pos_w: (N, 3) m, of which pos and quat were computed, like `root_quat_w` (N, 4) and `joint_pos` (N, J) rad.
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

    A hinge turns what it carries, and those velocities that are relative to the frame before it, which itself turns at `before`
    (3, H, B, N) rad/s.
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
    """The moment that a gradient of rotations is: turning by a small v changes q by (0, v / 2) q. (4, B, N) both -> (3, B, N)."""
    (w, u), (grad_w, grad_u) = quat.split((1, 3)), grad.split((1, 3))
    return 0.5 * (w * grad_u - grad_w * u - cross(grad_u, u))


def _to_root_quat(quat: Tensor, moment: Tensor) -> Tensor:
    """The gradient (N, 4) of the root's rotation whose `_torque` is the root's moment."""
    root = moment[:, 0]
    return 2.0 * multiply(torch.cat([torch.zeros_like(root[:1]), root]), quat[:, 0]).T


def _sums(carried: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
    """Of each quantity (3, B, N), the sum over a body and all that hangs on it."""
    return (carried @ torch.cat(parts)).split(3)


def _joints(hinges: Tensor, places: Tensor) -> Tensor:
    """(H, B, N) -> (N, J)."""
    return hinges.flatten(0, 1)[places].T
