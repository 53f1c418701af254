"""Rotations and kinematics for an exported graph: products with constant matrices in place of chains of components.

A graph that answers for one robot spends its time on starting operations and not on numbers. What is here gives what
`rotation.py`, `kinematics.py` and `observations.py` give, in a fifth of the operations, and more arithmetic. They ask `traced`.
Tests compare both, and so does each export, on a thousand states.
"""

import torch
from torch import Tensor

_W, _X, _Y, _Z = range(4)
_MATRIX: tuple[dict[tuple[int, ...], float], ...] = (
    {(): 1.0, (_Y, _Y): -2.0, (_Z, _Z): -2.0},
    {(_X, _Y): 2.0, (_W, _Z): -2.0},
    {(_X, _Z): 2.0, (_W, _Y): 2.0},
    {(_X, _Y): 2.0, (_W, _Z): 2.0},
    {(): 1.0, (_X, _X): -2.0, (_Z, _Z): -2.0},
    {(_Y, _Z): 2.0, (_W, _X): -2.0},
    {(_X, _Z): 2.0, (_W, _Y): -2.0},
    {(_Y, _Z): 2.0, (_W, _X): 2.0},
    {(): 1.0, (_X, _X): -2.0, (_Y, _Y): -2.0},
)
"""The entries of a quaternion's rotation matrix, row by row: factors of products of two components, and constants."""
COLUMNS = (0, 3, 6, 1, 4, 7)
"""Of the entries those of the first column and of the second."""
TRANSPOSED = (0, 3, 6, 1, 4, 7, 2, 5, 8)


def traced() -> bool:
    """Whether a graph is being exported right now."""
    return torch.onnx.is_in_onnx_export()


def entries(q: Tensor, chosen: tuple[int, ...] = tuple(range(9))) -> Tensor:
    """Some entries of rotation matrices, counted row by row: (..., 4) -> (..., len(chosen))."""
    forms = [_MATRIX[entry] for entry in chosen]
    # Of plain numbers: constants of the graph, and no operations that make them.
    pairs = [(i, j) for i in range(4) for j in range(4)]
    factors = q.new_tensor([[form.get(pair, 0.0) for form in forms] for pair in pairs])
    constants = q.new_tensor([form.get((), 0.0) for form in forms])
    products = (q.unsqueeze(-1) * q.unsqueeze(-2)).reshape(-1, *q.shape[1:-1], 16)
    return products @ factors + constants


def matrix(q: Tensor) -> Tensor:
    """Rotation matrices, (N, 4) -> (N, 3, 3)."""
    return entries(q).reshape(-1, 3, 3)


def into_heading(ahead: Tensor, *, level: bool = False) -> Tensor:
    """What turns row vectors of the world into a heading frame: cosine and sine of the heading (N, 2) -> (N, 3, 3).

    Args:
        level: of level vectors, (N, 2, 2).
    """
    if level:
        return (ahead @ ahead.new_tensor([[1.0, 0, 0, 1], [0, -1, 1, 0]])).reshape(-1, 2, 2)
    turn = ahead.new_tensor([[1.0, 0, 0, 0, 1, 0, 0, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]])
    return (ahead @ turn + ahead.new_tensor([0.0, 0, 0, 0, 0, 0, 0, 0, 1])).reshape(-1, 3, 3)


def hinge_turns(axes: Tensor, rests: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What rotation matrices of hinges are made of: still + sin(angle) · by_sin + cos(angle) · by_cos.

    Args:
        axes: (3, H, B, 1) as `Kinematics` has them.
        rests: (4, B, 1); the first hinge's matrices have them in front.

    Returns:
        still, by_sin, by_cos, (H, B, 9) each.
    """
    x, y, z = axes.squeeze(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    twice = cross @ cross
    parts = torch.stack([torch.eye(3) + twice, cross, -twice])
    parts[:, 0] = entries(rests.squeeze(-1).T).unflatten(-1, (3, 3)) @ parts[:, 0]
    still, by_sin, by_cos = parts.flatten(-2)
    return still, by_sin, by_cos


def body_positions(tree: "Tree", root_pos_w: Tensor, root_quat_w: Tensor, joint_pos: Tensor) -> Tensor:
    """As `Kinematics.forward`: (N, 3) m, (N, 4), (N, J) rad -> (N, B, 3) m."""
    hinges, bodies = tree.slots.shape
    angles = joint_pos[:, tree.slots].unsqueeze(-1)
    turns = (tree.still + angles.sin() * tree.by_sin + angles.cos() * tree.by_cos).reshape(-1, hinges, bodies, 3, 3)
    turn = turns[:, 0]
    for k in range(1, hinges):
        turn = turn @ turns[:, k]
    for ancestors in tree.jumps:
        turn = turn[:, ancestors] @ turn
    arms = (turn[:, tree.parents] @ tree.offsets).reshape(-1, bodies, 3)
    return tree.ancestry @ arms @ entries(root_quat_w, TRANSPOSED).reshape(-1, 3, 3) + root_pos_w.unsqueeze(1)


class Tree:
    """The constants of `body_positions`.

    Attributes:
        slots: (H, B) which joint is each body's hinge; any where it has fewer.
        still, by_sin, by_cos: (H, B, 9), see `hinge_turns`; where there is no hinge no angle counts.
        jumps, parents: as `Kinematics` has them.
        offsets: (B, 3, 1) m, of each body in its parent's frame.
        ancestry: (B, B) 1 where the second is the first body or one of its ancestors.
    """

    def __init__(
        self,
        slots: Tensor,
        axes: Tensor,
        rests: Tensor,
        jumps: Tensor,
        parents: Tensor,
        offsets: Tensor,
        carried: Tensor,
    ) -> None:
        turns = slots < slots[0, 0]  # the root has no hinge
        self.slots, self.jumps, self.parents = slots * turns, list(jumps.unbind()), parents
        still, by_sin, by_cos = hinge_turns(axes, rests)
        hinge = turns.unsqueeze(-1)
        self.still = torch.where(hinge, still, still + by_cos)  # at an angle of 0
        self.by_sin, self.by_cos = by_sin * hinge, by_cos * hinge
        self.offsets, self.ancestry = offsets.squeeze(-1).T.unsqueeze(-1), carried.T.contiguous()
