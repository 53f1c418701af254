"""Rotations as unit quaternions, wxyz, on tensors of any leading shape. All functions are pure, batched and exportable.

Components lie along the last dimension; `multiply`, `rotate`, `cross` and `from_axis_angle` also take another `dim`.
They operate on whole vectors rather than on single components, because the number of operations, not their size, determines the
cost on a GPU and in an exported graph.
"""

import torch
from torch import Tensor

from .traced import COLUMNS, entries, matrix, traced


def normalize(q: Tensor) -> Tensor:
    """Scale to unit length, (..., 4) -> (..., 4)."""
    return q / q.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def conjugate(q: Tensor) -> Tensor:
    """The inverse of a unit quaternion, (..., 4) -> (..., 4)."""
    return torch.cat([q[..., :1], -q[..., 1:]], dim=-1)


def multiply(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Hamilton product: the rotation b, then a. (..., 4), (..., 4) -> (..., 4)."""
    aw, ax, ay, az = a.split(1, dim)
    w, x, y, z = b.split(1, dim)
    i_b, j_b, k_b = torch.cat([-x, w, -z, y], dim), torch.cat([-y, z, w, -x], dim), torch.cat([-z, -y, x, w], dim)
    return aw * b + ax * i_b + ay * j_b + az * k_b


def rotate(q: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """Rotate vectors by quaternions: (..., 4), (..., 3) -> (..., 3)."""
    w, u = q.split((1, 3), dim)
    t = 2.0 * cross(u, v, dim)
    return v + w * t + cross(u, t, dim)


def rotate_inverse(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors by the inverse rotation, from world to body: (..., 4), (..., 3) -> (..., 3)."""
    if traced():
        return (v.unsqueeze(-2) @ matrix(q))[..., 0, :]
    w, u = q.split((1, 3), -1)
    t = 2.0 * cross(u, v)
    return v - w * t + cross(u, t)


def cross(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Cross product with broadcasting, (..., 3), (..., 3) -> (..., 3)."""
    return _next(a * _next(b, dim) - _next(a, dim) * b, dim)


def _next(v: Tensor, dim: int) -> Tensor:
    """Components x, y, z -> y, z, x."""
    x, yz = v.split((1, 2), dim)
    return torch.cat([yz, x], dim)


def from_axis_angle(axis: Tensor, angle: Tensor, dim: int = -1) -> Tensor:
    """Quaternion from unit axis and angle: (..., 3), (...) rad -> (..., 4)."""
    half = (0.5 * angle).unsqueeze(dim)
    return torch.cat([half.cos(), axis * half.sin()], dim=dim)


def from_rotation_vector(v: Tensor) -> Tensor:
    """Exponential map: (..., 3) rad -> (..., 4)."""
    angle = v.norm(dim=-1, keepdim=True)
    # Near zero sin(x/2)/x is computed by its series, because the quotient loses precision.
    scale = torch.where(angle < 1e-4, 0.5 - angle**2 / 48.0, (0.5 * angle).sin() / angle.clamp_min(1e-9))
    return torch.cat([(0.5 * angle).cos(), v * scale], dim=-1)


def to_rotation_vector(q: Tensor) -> Tensor:
    """Logarithm, along the shorter path: (..., 4) -> (..., 3) rad, length at most pi."""
    q = torch.where(q[..., :1] < 0.0, -q, q)
    sin_half = q[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sin_half, q[..., :1])
    scale = torch.where(sin_half < 1e-5, 2.0 + sin_half**2 / 3.0, angle / sin_half.clamp_min(1e-9))
    return q[..., 1:] * scale


def from_yaw(yaw: Tensor) -> Tensor:
    """Rotation about world z: (...) rad -> (..., 4)."""
    half = 0.5 * yaw
    zero = torch.zeros_like(half)
    return torch.stack([half.cos(), zero, zero, half.sin()], dim=-1)


def yaw(q: Tensor) -> Tensor:
    """Heading: the angle about world z of the body's x axis seen from above. (..., 4) -> (...) rad."""
    x, y = _forward(q).unbind(-1)
    return torch.atan2(y, x)


def yaw_cos_sin(q: Tensor) -> Tensor:
    """Cosine and sine of `yaw`, (..., 4) -> (..., 2); both 0 where the body's x axis is vertical and has no heading."""
    forward = _forward(q)
    return forward / forward.norm(dim=-1, keepdim=True).clamp_min(1e-9)


def _forward(q: Tensor) -> Tensor:
    """Half the horizontal part of the body's x axis, (..., 4) -> (..., 2)."""
    if traced():
        return 0.5 * entries(q, COLUMNS[:2])
    w, x, y, z = q.split(1, dim=-1)
    return torch.cat([0.5 - torch.addcmul(y * y, z, z), torch.addcmul(w * z, x, y)], dim=-1)


def heading(q: Tensor) -> Tensor:
    """The heading frame: only the yaw of a rotation, (..., 4) -> (..., 4)."""
    return from_yaw(yaw(q))


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Smallest rotation from a to b: (..., 4), (..., 4) -> (...) rad in [0, pi].

    The angle between two unit quaternions as vectors is half the rotation's; q and -q are the same rotation. Computing the angle
    from the vectors' difference and sum is accurate for small angles too (Kahan 2006).
    """
    apart, opposite = (a - b).norm(dim=-1), (a + b).norm(dim=-1)
    return 4.0 * torch.atan2(torch.minimum(apart, opposite), torch.maximum(apart, opposite))


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Constant-speed interpolation along the shorter path: (..., 4), (..., 4), (..., 1) -> (..., 4). Shoemake 1985."""
    return normalize(multiply(a, from_rotation_vector(t * to_rotation_vector(multiply(conjugate(a), b)))))


def to_6d(q: Tensor) -> Tensor:
    """First two columns of the rotation matrix, (..., 4) -> (..., 6). Continuous (Zhou et al. 2019, arXiv 1812.07035)."""
    if traced():
        return entries(q, COLUMNS)
    first, second = two_columns(q)
    return torch.cat([*first, *second], dim=-1)


def two_columns(q: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """First two columns of the rotation matrix by component: x, y, z of each, (..., 4) -> (..., 1) each."""
    w, u = q.split((1, 3), dim=-1)
    (x, y, z), (twice_x, twice_y, twice_z) = u.split(1, dim=-1), (2.0 * u).split(1, dim=-1)
    xy, xz, yz, zz = x * twice_y, x * twice_z, y * twice_z, z * twice_z
    first = (
        1.0 - torch.addcmul(zz, y, twice_y),
        torch.addcmul(xy, w, twice_z),
        torch.addcmul(xz, w, twice_y, value=-1.0),
    )
    second = (
        torch.addcmul(xy, w, twice_z, value=-1.0),
        1.0 - torch.addcmul(zz, x, twice_x),
        torch.addcmul(yz, w, twice_x),
    )
    return first, second


def wrap_angle(angle: Tensor) -> Tensor:
    """Wrap angles to (-pi, pi]."""
    return torch.atan2(angle.sin(), angle.cos())
