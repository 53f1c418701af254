"""Angles of three hinges that rotate a body by a given rotation, within the hinges' limits."""

from collections.abc import Callable

import torch
from torch import Tensor

from protege.core.robots import rotation as R

MAX_CLAMPING_ERROR = 0.05  # rad that clamping a chain of exact solutions may cost
# Cost of hinges that jump between two frames, relative to the cost of a rotation error of the same angle: in choosing between
# solutions, small enough to change the solution for a leg that is drawn up for a fifth of a second; and in the steps after that.
JUMP_COST, COUPLING = 0.3, 1.0
CALM_COUPLING = 0.005
"""The same in calming a chain: it costs hundredths of a radian where hinges swing between limits, and little elsewhere."""
MAX_JUMP_RATIO = 2.0
"""Largest ratio of the jumps of the hinges' speeds to those of the rotation's speed, in a calm chain."""
SOLUTION_STEPS, CHAIN_STEPS = 20, 100  # towards each solution; from the chosen ones, together


def hinge_angles(q: Tensor, limits: Tensor, *, wraps: bool = False, calm: bool = False) -> Tensor:
    """Angles of a body's x, y and z hinges, in this order, that rotate it by q.

    Of the two exact solutions of each frame, the one nearer to the previous frame is used, without jumps by a full turn, and
    clamped to the limits. Where y passes a right angle, as hips do in a crouch, x and z swing by half a turn, which limits seldom
    allow: where clamping would cost more than `MAX_CLAMPING_ERROR`, the angles are those within the limits that are nearest to q.
    Where it costs less, as in knees that bend by more than a right angle, hinges swing between limits from one frame to the next.

    Args:
        q: (T, 4) rotations in the parent's frame.
        limits: (3, 2) rad.
        wraps: the search ends where it began.
        calm: couple neighbouring frames where hinges swing like that.

    Returns:
        (T, 3) rad.
    """
    q, (low, high) = q.double(), limits.double().unbind(-1)
    chain = _chain(_solutions(q), (low + high) / 2.0).clamp(low, high)
    if R.angle_between(turned(chain), q).max() >= MAX_CLAMPING_ERROR:
        return _around(wraps, lambda q: _search(q, low, high), q)
    if calm and not _is_calm(chain, q):
        return _around(wraps, lambda q, chain: _descend(chain, q, low, high, CHAIN_STEPS, CALM_COUPLING), q, chain)
    return chain


def _around(wraps: bool, work: Callable[..., Tensor], *parts: Tensor) -> Tensor:
    """The result of `work` for parts (T, ...); for a cycle, including the repetitions before and after it."""
    if not wraps:
        return work(*parts)
    count = len(parts[0])
    return work(*(part.repeat(3, 1) for part in parts))[count : 2 * count]


def _is_calm(angles: Tensor, q: Tensor) -> bool:
    """Whether no hinge's speed jumps by more than `MAX_JUMP_RATIO` times the largest jump of the rotation's speed."""
    if len(q) < 3:
        return True
    turns = R.to_rotation_vector(R.multiply(R.conjugate(q[:-1]), q[1:]))
    return bool(angles.diff(n=2, dim=0).abs().max() <= MAX_JUMP_RATIO * turns.diff(dim=0).norm(dim=-1).max())


def turned(angles: Tensor) -> Tensor:
    """(..., 4) rotations by x, y and z hinges at (..., 3) rad."""
    x, y, z = _each(angles)
    return R.multiply(R.multiply(x, y), z)


def _each(angles: Tensor) -> tuple[Tensor, ...]:
    """(..., 4) the rotation by each hinge."""
    axes = torch.eye(3, dtype=angles.dtype).expand(*angles.shape, 3)
    return R.from_axis_angle(axes, angles).unbind(-2)


def _solutions(q: Tensor) -> Tensor:
    """(T, 2, 3) both triples of angles, x and z up to half a turn."""
    w, x, y, z = q.unbind(-1)
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
    return torch.stack([first, other], dim=1)


def _chain(solutions: Tensor, middle: Tensor) -> Tensor:
    """(T, 3) in each frame the solution nearest to the previous frame, all of them shifted towards the middle."""
    previous, angles = middle, []
    for candidates in solutions:
        near = previous + R.wrap_angle(candidates - previous)
        previous = near[(near - previous).square().sum(-1).argmin()]
        angles.append(previous)
    chain = torch.stack(angles)
    # A clip that starts a full turn away from the hinge's range is shifted into it.
    return chain - 2.0 * torch.pi * ((chain.mean(dim=0) - middle) / (2.0 * torch.pi)).round()


def _search(q: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(T, 3) angles within the limits, near q and without jumps."""
    middle, quarter = (low + high) / 2.0, (high - low) / 4.0
    spread = middle + quarter * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=q.dtype)] * 3)
    exact = middle + R.wrap_angle(_solutions(q) - middle)
    starts = torch.cat([exact, spread.expand(len(q), -1, -1)], dim=1)
    found = _descend(starts.clamp(low, high), q[:, None], low, high, SOLUTION_STEPS)
    return _descend(_smoothest(found, R.angle_between(turned(found), q[:, None])), q, low, high, CHAIN_STEPS, COUPLING)


def _smoothest(found: Tensor, error: Tensor) -> Tensor:
    """(T, 3) of K candidates per frame, (T, K, 3) with errors (T, K), the sequence with least errors and jumps (Viterbi)."""
    cost, choices = error[0].square(), []
    for t in range(1, len(found)):
        jump = (found[t, :, None] - found[t - 1]).square().sum(-1)
        best = (cost + JUMP_COST * jump).min(dim=1)
        cost = best.values + error[t].square()
        choices.append(best.indices)
    path = [int(cost.argmin())]
    for choice in reversed(choices):
        path.append(int(choice[path[-1]]))
    return found[torch.arange(len(found)), path[::-1]]


def _descend(angles: Tensor, q: Tensor, low: Tensor, high: Tensor, steps: int, coupling: float = 0.0) -> Tensor:
    """Projected Gauss-Newton steps towards q; with `coupling`, neighbours in time, dimension 0, are coupled."""
    for _ in range(steps):
        here = turned(angles)
        off = R.to_rotation_vector(R.multiply(R.conjugate(here), q.expand_as(here)))
        axes = _axes(angles)
        force = axes @ off[..., None]
        if coupling:
            held = torch.cat([angles[:1], angles, angles[-1:]])
            force += coupling * (held[:-2] + held[2:] - 2.0 * angles)[..., None]
        # A hinge at a limit that is pushed against it does not take part.
        free = ~((angles <= low) & (force[..., 0] < 0.0) | (angles >= high) & (force[..., 0] > 0.0))
        axes = axes * free[..., None]
        normal = axes @ axes.mT + (2.0 * coupling + 1e-3) * torch.eye(3, dtype=q.dtype)
        step = torch.linalg.solve(normal, force * free[..., None])[..., 0]
        angles = (angles + step.clamp(-0.3, 0.3)).clamp(low, high)
    return angles


def _axes(angles: Tensor) -> Tensor:
    """(..., 3, 3) the hinges' axes, one per row, in the rotated body's frame."""
    _, y, z = _each(angles)
    e = torch.eye(3, dtype=angles.dtype).expand(*angles.shape, 3)
    return torch.stack(
        [R.rotate_inverse(R.multiply(y, z), e[..., 0, :]), R.rotate_inverse(z, e[..., 1, :]), e[..., 2, :]], dim=-2
    )
