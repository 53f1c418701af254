"""Determines the vertical axis and the order of quaternions, if a file does not contain them, by comparing the alternatives."""

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R

from .arrays import Order
from .options import Options

MIN_UPRIGHT_SHARE, MAX_OTHER_SHARE = 0.95, 0.5
"""Shares of the frames: a choice is taken if the robot is upright in at least the first with it, and in fewer than the second
with the other one."""
STANDING_COSINE = 0.5
"""Least cosine between the root's own z axis and the vertical for a standing robot, however bent."""
Y_UP = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])
"""The rotation from y up to z up: (x, y, z) becomes (x, -z, y)."""


def upright(quat: np.ndarray, axis: int = 2) -> np.ndarray:
    """(T,) cosine between the root's own z axis and an axis of the world, for rotations (T, 4) wxyz."""
    w, x, y, z = quat.T
    return [2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)][axis]


def choose_order(raw: np.ndarray, file: str) -> tuple[Order, str]:
    """The order of quaternions (T, 4) if the file does not contain it, and the reason in words.

    Raises:
        UserError: both orders give a plausible motion.
    """
    stands = {
        "wxyz": float((upright(raw) > STANDING_COSINE).mean()),
        "xyzw": float((upright(np.roll(raw, 1, axis=1)) > STANDING_COSINE).mean()),
    }
    pairs: tuple[tuple[Order, Order], ...] = (("wxyz", "xyzw"), ("xyzw", "wxyz"))
    for order, other in pairs:
        if stands[order] >= MIN_UPRIGHT_SHARE and stands[other] < MAX_OTHER_SHARE:
            share = 1.0 - stands[other]
            return (
                order,
                f"quaternions are taken as {order}: as {other} the robot would lie in {share:.0%} of the frames",
            )
    raise UserError(
        f"{file} does not say in which order its quaternions are, and both orders give a plausible motion",
        "Add --quat xyzw (Unitree's LAFAN1) or --quat wxyz (Kimodo, MuJoCo)",
    )


def check_upright(quat: np.ndarray, file: str, options: Options, order: Order | None = None) -> None:
    """Reject a root that is upright only with another vertical axis, or with its quaternion in the other order.

    Args:
        quat: (T, 4) wxyz as it was read.
        options: with `up`, if the user has given it.
        order: order in which it was read; None if the file has no quaternions.

    Raises:
        UserError: it names the option that corrects this.
    """

    def up(wxyz: np.ndarray) -> np.ndarray:
        return upright(after(Y_UP, wxyz) if options.up == "y" else wxyz)

    if np.median(up(quat)) >= STANDING_COSINE:
        return
    if order:
        raw = quat if order == "wxyz" else np.roll(quat, -1, axis=1)
        other = "xyzw" if order == "wxyz" else "wxyz"
        if (up(np.roll(raw, 1, axis=1) if other == "xyzw" else raw) > 0.8).mean() > MIN_UPRIGHT_SHARE:
            problem = (
                f"{file}: root rotation of frame 0: it lies or stands on its head; as {other}, upright in every frame"
            )
            raise UserError(problem, f"Add --quat {other}")
    if options.up is None and (upright(quat, axis=1) > 0.8).mean() > MIN_UPRIGHT_SHARE:
        raise UserError(f"{file}: y points up in every frame, and not z", "Add --up y")


def turned(quat: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) rotated by one rotation (4,)."""
    flat = torch.from_numpy(np.ascontiguousarray(vectors.reshape(-1, 3)))
    return R.rotate(torch.from_numpy(quat).expand(len(flat), 4), flat).numpy().reshape(vectors.shape)


def after(quat: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotations (..., 4), followed by one rotation (4,)."""
    q = torch.from_numpy(np.ascontiguousarray(rotations))
    return R.multiply(torch.from_numpy(quat).expand_as(q), q).numpy()
