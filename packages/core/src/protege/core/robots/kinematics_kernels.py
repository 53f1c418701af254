"""Forward kinematics and its gradient as two Triton kernels, for training through them on a GPU.

Each thread processes the bodies of one env in order, from the root outwards, and in reverse for the gradient. `kinematics.py` and
`kinematics_gradient.py` explain the formulas; tests compare the kernels with them. There the same takes about 250 launches, a third
of those of an imagined step, and half of its compilation.

Layouts: (C, B, N), the batch last, as in `kinematics.py`; root and joint values are (N, C).
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

BLOCK_SIZE = 64
"""Envs per block. One thread per env, so that a thread only reads values that it has written."""
TREE_TENSORS = 5
"""Number of tensors that describe a robot's kinematic tree."""

# Small vectors as tuples of components ---------------------------------------------------------------------------------


@triton.jit
def cross(a, b):
    """Vector product."""
    ax, ay, az = a
    bx, by, bz = b
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx


@triton.jit
def plus(a, b):
    """Sum."""
    ax, ay, az = a
    bx, by, bz = b
    return ax + bx, ay + by, az + bz


@triton.jit
def minus(a, b):
    """Difference."""
    ax, ay, az = a
    bx, by, bz = b
    return ax - bx, ay - by, az - bz


@triton.jit
def dot(a, b):
    """Scalar product."""
    ax, ay, az = a
    bx, by, bz = b
    return ax * bx + ay * by + az * bz


@triton.jit
def rotate(q, v):
    """Rotate a vector by a quaternion."""
    w, x, y, z = q
    vx, vy, vz = v
    tx, ty, tz = cross((x, y, z), v)  # pyright: ignore[reportGeneralTypeIssues]
    tx, ty, tz = 2.0 * tx, 2.0 * ty, 2.0 * tz
    sx, sy, sz = cross((x, y, z), (tx, ty, tz))
    return vx + w * tx + sx, vy + w * ty + sy, vz + w * tz + sz


@triton.jit
def multiply(a, b):
    """Hamilton product: the rotation b, then a."""
    aw, ax, ay, az = a
    bw, bx, by, bz = b
    return (
        aw * bw - ax * bx - ay * by - az * bz,
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
    )


@triton.jit
def load3(x, stride, at, mask):
    """Load three components at distance `stride`."""
    return tl.load(x + at, mask), tl.load(x + stride + at, mask), tl.load(x + 2 * stride + at, mask)


@triton.jit
def load4(x, stride, at, mask):
    """Load four components at distance `stride`."""
    return (
        tl.load(x + at, mask),
        tl.load(x + stride + at, mask),
        tl.load(x + 2 * stride + at, mask),
        tl.load(x + 3 * stride + at, mask),
    )


@triton.jit
def store3(x, stride, at, v, mask):
    """The inverse of `load3`."""
    vx, vy, vz = v
    tl.store(x + at, vx, mask)
    tl.store(x + stride + at, vy, mask)
    tl.store(x + 2 * stride + at, vz, mask)


@triton.jit
def store4(x, stride, at, q, mask):
    """The inverse of `load4`."""
    w, a, b, c = q
    tl.store(x + at, w, mask)
    store3(x + stride, stride, at, (a, b, c), mask)


# Kernels ---------------------------------------------------------------------------------------------------------------


@triton.jit
def motion_kernel(
    root_pos, root_quat, root_lin, root_ang, joint_pos, joint_vel,
    parents, offsets, rests, hinge_axes, slots,
    pos, quat, lin, ang, axes, before,
    n, joints: tl.constexpr, bodies: tl.constexpr, hinges: tl.constexpr, moving: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Compute `Kinematics._motion`; if not `moving`, only positions, rotations and axes."""
    env = tl.program_id(0) * block + tl.arange(0, block)
    mask, layer = env < n, bodies * n
    store3(pos, layer, env, load3(root_pos, 1, 3 * env, mask), mask)
    store4(quat, layer, env, load4(root_quat, 1, 4 * env, mask), mask)
    if moving:
        store3(lin, layer, env, load3(root_lin, 1, 3 * env, mask), mask)
        store3(ang, layer, env, load3(root_ang, 1, 3 * env, mask), mask)
    for body in range(1, bodies):
        here, there = body * n + env, tl.load(parents + body) * n + env
        turn = load4(quat, layer, there, mask)
        arm = rotate(turn, load3(offsets, bodies, body, True))
        store3(pos, layer, here, plus(load3(pos, layer, there, mask), arm), mask)
        turn = multiply(turn, load4(rests, bodies, body, True))
        if moving:
            spin = load3(ang, layer, there, mask)
            store3(lin, layer, here, plus(load3(lin, layer, there, mask), cross(spin, arm)), mask)
        for k in tl.static_range(hinges):
            joint = tl.load(slots + k * bodies + body)
            real = mask & (joint < joints)
            local = load3(hinge_axes, hinges * bodies, k * bodies + body, True)
            x, y, z = rotate(turn, local)
            store3(axes, hinges * layer, k * layer + here, (x, y, z), mask)
            if moving:
                store3(before, hinges * layer, k * layer + here, spin, mask)
                speed = tl.load(joint_vel + env * joints + joint, real, 0.0)
                spin = plus(spin, (speed * x, speed * y, speed * z))
            half = 0.5 * tl.load(joint_pos + env * joints + joint, real, 0.0)
            x, y, z = local
            sin = tl.sin(half)
            turn = multiply(turn, (tl.cos(half), sin * x, sin * y, sin * z))
        store4(quat, layer, here, turn, mask)
        if moving:
            store3(ang, layer, here, spin, mask)
        tl.debug_barrier()  # children read what was written here


@triton.jit
def gradient_kernel(
    to_pos, to_quat, to_lin, to_ang, pos, quat, lin, ang, axes, before, parents, slots, sums,
    to_root_pos, to_root_quat, to_root_lin, to_root_ang, to_joint_pos, to_joint_vel,
    n, joints: tl.constexpr, bodies: tl.constexpr, hinges: tl.constexpr, moving: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Compute `StateGradient.backward`, or `PoseGradient.backward` if not `moving`. `sums` (12, B, N) must be zero."""
    env = tl.program_id(0) * block + tl.arange(0, block)
    mask, layer = env < n, bodies * n
    root = load3(pos, layer, env, mask)
    for back in range(bodies):
        body = bodies - 1 - back
        here, there = body * n + env, tl.load(parents + body) * n + env
        inner = mask & (body > 0)
        arm = minus(load3(pos, layer, here, mask), root)
        pull = load3(to_pos, layer, here, mask)
        w, x, y, z = load4(quat, layer, here, mask)
        pull_w, pull_x, pull_y, pull_z = load4(to_quat, layer, here, mask)
        tx, ty, tz = cross((pull_x, pull_y, pull_z), (x, y, z))
        torque = (
            0.5 * (w * pull_x - pull_w * x - tx),
            0.5 * (w * pull_y - pull_w * y - ty),
            0.5 * (w * pull_z - pull_w * z - tz),
        )
        moment = plus(cross(arm, pull), torque)
        if moving:
            speed, spin = load3(lin, layer, here, mask), load3(ang, layer, here, mask)
            push, twist = load3(to_lin, layer, here, mask), load3(to_ang, layer, here, mask)
            moment = plus(moment, plus(cross(spin, twist), cross(speed, push)))
            twist = plus(twist, cross(arm, push))
            push = plus(push, load3(sums + 6 * layer, layer, here, mask))
            twist = plus(twist, load3(sums + 9 * layer, layer, here, mask))
            store3(sums + 6 * layer, layer, there, plus(push, load3(sums + 6 * layer, layer, there, mask)), inner)
            store3(sums + 9 * layer, layer, there, plus(twist, load3(sums + 9 * layer, layer, there, mask)), inner)
        pull = plus(pull, load3(sums, layer, here, mask))
        moment = plus(moment, load3(sums + 3 * layer, layer, here, mask))
        store3(sums, layer, there, plus(pull, load3(sums, layer, there, mask)), inner)
        store3(sums + 3 * layer, layer, there, plus(moment, load3(sums + 3 * layer, layer, there, mask)), inner)
        moment = minus(moment, cross(arm, pull))
        if moving:
            moment = minus(moment, cross(speed, push))
            twist = minus(twist, cross(arm, push))
        for k in tl.static_range(hinges):
            joint = tl.load(slots + k * bodies + body)
            real = mask & (joint < joints)
            axis, at_hinge = load3(axes, hinges * layer, k * layer + here, inner), moment
            if moving:
                at_hinge = minus(moment, cross(load3(before, hinges * layer, k * layer + here, inner), twist))
                tl.store(to_joint_vel + env * joints + joint, dot(axis, twist), real)
            tl.store(to_joint_pos + env * joints + joint, dot(axis, at_hinge), real)
        if body == 0:
            store3(to_root_pos, 1, 3 * env, pull, mask)
            if moving:
                store3(to_root_lin, 1, 3 * env, push, mask)
                store3(to_root_ang, 1, 3 * env, twist, mask)
                moment = minus(moment, cross(spin, twist))
            mx, my, mz = moment
            store4(to_root_quat, 1, 4 * env, multiply((0.0 * mx, 2.0 * mx, 2.0 * my, 2.0 * mz), (w, x, y, z)), mask)
        tl.debug_barrier()


# As torch operators ----------------------------------------------------------------------------------------------------


def _launch(kernel: Any, tensors: list[Tensor], tree: Sequence[Tensor], n: int, joints: int, moving: bool) -> None:
    """Run a kernel for n envs. Tensors that it does not use without `moving` may be any placeholder."""
    hinges, bodies = tree[-1].shape
    grid, warps = (triton.cdiv(n, BLOCK_SIZE),), BLOCK_SIZE // 32
    kernel[grid](*tensors, n, joints, bodies, hinges, moving, BLOCK_SIZE, num_warps=warps)


@torch.library.custom_op("protege::motion", mutates_args=())
def motion(inputs: Sequence[Tensor], tree: Sequence[Tensor]) -> list[Tensor]:
    """Compute `Kinematics._motion`, (C, B, N) or (3, H, B, N) each.

    Args:
        inputs: root_pos_w (N, 3), root_quat_w (N, 4), root_lin_vel_w, root_ang_vel_w (N, 3), joint_pos, joint_vel (N, J). Without
            the three velocities only positions, rotations and axes are computed.
        tree: parents (B,), offsets (3, B), rests (4, B), axes (3, H, B) and slots (H, B) of a `Kinematics`.
    """
    moving = len(inputs) == 6
    inputs = [x.contiguous() for x in inputs]
    made = _outputs(inputs, tree)
    if moving:
        read, written = inputs, made
    else:
        (pos, quat, joints), (body_pos, body_quat, axes) = inputs, made
        read, written = [pos, quat, pos, pos, joints, joints], [body_pos, body_quat, body_pos, body_pos, axes, axes]
    _launch(motion_kernel, [*read, *tree, *written], tree, len(inputs[0]), inputs[-1].shape[1], moving)
    return made


@motion.register_fake
def _outputs(inputs: Sequence[Tensor], tree: Sequence[Tensor]) -> list[Tensor]:
    n, (hinges, bodies) = len(inputs[0]), tree[-1].shape
    shapes = [(3, bodies, n), (4, bodies, n)]
    shapes += [(3, bodies, n)] * 2 * (len(inputs) == 6)
    axes = [(3, hinges, bodies, n)] * (1 + (len(inputs) == 6))
    # The root has no hinges: its axes are neither written nor read.
    return [inputs[0].new_empty(shape) for shape in [*shapes, *axes]]


@torch.library.custom_op("protege::motion_gradient", mutates_args=())
def motion_gradient(
    pulls: Sequence[Tensor], made: Sequence[Tensor], tree: Sequence[Tensor], joints: int
) -> list[Tensor]:
    """The gradients of the inputs of `motion`, in their order, from those of its results.

    Args:
        pulls: gradients of pos, quat, lin, ang, (C, B, N) each; only the first two for poses.
        made: the results of `motion`.
        joints: J.
    """
    moving, n = len(pulls) == 4, made[0].shape[-1]
    pulls = [x.contiguous() for x in pulls]
    gradients = _gradients(pulls, made, tree, joints)
    sums = made[0].new_zeros(12, tree[-1].shape[1], n)
    if moving:
        read, written = [*pulls, *made], gradients
    else:
        (pos, quat, axes), (to_pos, to_quat, to_joints) = made, gradients
        read = [*pulls, *pulls, pos, quat, pos, pos, axes, axes]
        written = [to_pos, to_quat, to_pos, to_pos, to_joints, to_joints]
    _launch(gradient_kernel, [*read, tree[0], tree[-1], sums, *written], tree, n, joints, moving)
    return gradients


@motion_gradient.register_fake
def _gradients(pulls: Sequence[Tensor], made: Sequence[Tensor], tree: Sequence[Tensor], joints: int) -> list[Tensor]:
    n = made[0].shape[-1]
    widths = (3, 4, 3, 3, joints, joints) if len(pulls) == 4 else (3, 4, joints)
    return [made[0].new_empty(n, width) for width in widths]


class Motion(Function):
    """`motion` with its gradient: positions, rotations and velocities of bodies, (3 or 4, B, N); for poses the first two.

    Args:
        tree: see `motion`, TREE_TENSORS tensors.
        inputs: see `motion`.
    """

    @staticmethod
    def forward(ctx: Any, *tree_and_inputs: Tensor) -> tuple[Tensor, ...]:
        tree, inputs = tree_and_inputs[:TREE_TENSORS], tree_and_inputs[TREE_TENSORS:]
        made = motion(inputs, tree)
        ctx.save_for_backward(*tree, *made)
        ctx.joints = inputs[-1].shape[1]
        return tuple(made[: 4 if len(inputs) == 6 else 2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *pulls: Tensor) -> tuple[Tensor | None, ...]:
        tree, made = ctx.saved_tensors[:TREE_TENSORS], ctx.saved_tensors[TREE_TENSORS:]
        return *[None] * TREE_TENSORS, *motion_gradient(pulls, made, tree, ctx.joints)
