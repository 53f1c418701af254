"""Servo targets that arrive late, for simulated and imagined envs.

Simulated actions arrive in any physics step: a control step may begin with an older target and go on with a newer one. An imagined
control step has one target, the mean of those in effect. To first order that is what a step's velocities depend on.
"""

import torch
from torch import Tensor


def queued(target: Tensor, sent: Tensor) -> Tensor:
    """The queue of sent targets, newest first: the new one (N, J) and the D earlier ones (N, D, J) -> (N, D + 1, J)."""
    return torch.cat([target.unsqueeze(1), sent], dim=1)


def whole_steps(delay: Tensor, dt: float) -> Tensor:
    """A delay in s as the nearest whole number of steps of `dt` s, (N,) both; 64-bit delays are rounded as Python rounds."""
    return (delay / dt).round().long()


def in_effect(queue: Tensor, late: Tensor, substep: int, substeps: int) -> Tensor:
    """The targets that the servos have in one physics step, (N, J).

    Args:
        queue: (N, D + 1, J), see `queued`.
        late: (N,) physics steps between sending and arrival, at most D · substeps.
        substep: index of the physics step in its control step.
        substeps: physics steps per control step.
    """
    # In physics step k the servos have the newest target that was sent at least `late` physics steps ago.
    age = torch.div(late - substep + substeps - 1, substeps, rounding_mode="floor")
    return _of_age(queue, age)


def arriving(queue: Tensor, delay: Tensor) -> Tensor:
    """The mean over a control step of the targets that the servos have, (N, J); with a whole delay, the one that they have.

    Args:
        queue: (N, D + 1, J), see `queued`.
        delay: (N,) control steps, at most D. Its fraction is the share of the step in which the older target is still in effect.
    """
    age = delay.long()
    older = _of_age(queue, (age + 1).clamp_max(queue.shape[1] - 1))
    return torch.lerp(_of_age(queue, age), older, (delay - age).unsqueeze(1))


def _of_age(queue: Tensor, age: Tensor) -> Tensor:
    """The targets that were sent `age` (N,) control steps ago, (N, J)."""
    return queue.take_along_dim(age[:, None, None], dim=1).squeeze(1)
