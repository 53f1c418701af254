"""Rotations and kinematics for an exported graph: products with constant matrices instead of component-wise formulas.

For a single robot the time of a graph is spent on starting operations, not on arithmetic. These functions return the same values as
those of `rotation.py`, `kinematics.py` and `observations.py`, which call them while `traced`, with a fifth of the operations and
more arithmetic. Tests compare both, and so does every export, on a thousand states.
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
"""Entries of a quaternion's rotation matrix, row by row: coefficients of products of two components, and constants."""
COLUMNS = (0, 3, 6, 1, 4, 7)
"""Indices of the entries in the first and the second column."""
TRANSPOSED = (0, 3, 6, 1, 4, 7, 2, 5, 8)


def traced() -> bool:
    """Whether an ONNX graph is being exported."""
    return torch.onnx.is_in_onnx_export()


def entries(q: Tensor, chosen: tuple[int, ...] = tuple(range(9))) -> Tensor:
    """Chosen entries of rotation matrices, by row-major index: (..., 4) -> (..., len(chosen))."""
    forms = [_MATRIX[entry] for entry in chosen]
    # Made from Python numbers: they become constants of the graph.
    pairs = [(i, j) for i in range(4) for j in range(4)]
    factors = q.new_tensor([[form.get(pair, 0.0) for form in forms] for pair in pairs])
    constants = q.new_tensor([form.get((), 0.0) for form in forms])
    products = (q.unsqueeze(-1) * q.unsqueeze(-2)).reshape(-1, *q.shape[1:-1], 16)
    return products @ factors + constants


def matrix(q: Tensor) -> Tensor:
    """Rotation matrices, (N, 4) -> (N, 3, 3)."""
    return entries(q).reshape(-1, 3, 3)


def into_heading(ahead: Tensor, *, level: bool = False) -> Tensor:
    """Matrices that rotate row vectors from the world into heading frames, (N, 3, 3).

    Args:
        ahead: (N, 2) cosine and sine of the heading.
        level: for horizontal vectors, (N, 2, 2).
    """
    if level:
        return (ahead @ ahead.new_tensor([[1.0, 0, 0, 1], [0, -1, 1, 0]])).reshape(-1, 2, 2)
    turn = ahead.new_tensor([[1.0, 0, 0, 0, 1, 0, 0, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]])
    return (ahead @ turn + ahead.new_tensor([0.0, 0, 0, 0, 0, 0, 0, 0, 1])).reshape(-1, 3, 3)


def hinge_turns(axes: Tensor, rests: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Constants of the rotation matrices of hinges (Rodrigues' formula): still + sin(angle) · by_sin + cos(angle) · by_cos.

    Args:
        axes: (3, H, B, 1), see `Kinematics`.
        rests: (4, B, 1) rest rotations; the matrices of the first hinge include them.

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
    """Body positions as by `Kinematics.forward`: (N, 3) m, (N, 4), (N, J) rad -> (N, B, 3) m."""
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
        slots: (H, B) index of the joint of each body's hinges; arbitrary where it has fewer.
        still, by_sin, by_cos: (H, B, 9), see `hinge_turns`; without a hinge the angle has no effect.
        jumps, parents: see `Kinematics`.
        offsets: (B, 3, 1) m, position of each body in its parent's frame.
        ancestry: (B, B) 1 where the second body is the first one or one of its ancestors.
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
