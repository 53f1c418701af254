"""Which way is up, in which order a quaternion is written: what a file does not say, told from what the other choice would mean."""

import numpy as np
import torch

from protege.core.errors import UserError
from protege.core.robots import rotation as R

from .arrays import Order
from .options import Options

MIN_UPRIGHT_SHARE, MAX_OTHER_SHARE = 0.95, 0.5
"""Shares of the frames: a choice that has the robot upright in as many is taken if the other has it so in less than that."""
STANDING_COSINE = 0.5
"""Cosine between the root's own z axis and the vertical of a robot that stands, however bent."""
Y_UP = np.array([np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0])
"""The rotation that turns y into z: (x, y, z) is (x, -z, y) afterwards."""


def upright(quat: np.ndarray, axis: int = 2) -> np.ndarray:
    """(T,) cosine between the root's own z axis and an axis of the world, of rotations (T, 4) wxyz."""
    w, x, y, z = quat.T
    return [2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)][axis]


def choose_order(raw: np.ndarray, file: str) -> tuple[Order, str]:
    """The order of quaternions (T, 4) in a file that does not say it, and the reason in words.

    Raises:
        UserError: both orders give a motion that a robot could make.
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
        f"{file} does not say in which order its quaternions are, and either gives a possible motion",
        "Add --quat xyzw (Unitree's LAFAN1) or --quat wxyz (Kimodo, MuJoCo)",
    )


def check_upright(quat: np.ndarray, file: str, options: Options, order: Order | None = None) -> None:
    """Refuse a root that is upright only with another axis up, or with its quaternion in the other order.

    Args:
        quat: (T, 4) wxyz as it was read.
        options: with `up`, which the user may have said.
        order: in which it was read; None if the file has no quaternions.

    Raises:
        UserError: naming the option that puts it right.
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
    """Vectors (..., 3) turned by one rotation (4,)."""
    flat = torch.from_numpy(np.ascontiguousarray(vectors.reshape(-1, 3)))
    return R.rotate(torch.from_numpy(quat).expand(len(flat), 4), flat).numpy().reshape(vectors.shape)


def after(quat: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Rotations (..., 4), and then one rotation (4,)."""
    q = torch.from_numpy(np.ascontiguousarray(rotations))
    return R.multiply(torch.from_numpy(quat).expand_as(q), q).numpy()
