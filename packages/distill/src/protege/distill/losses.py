"""The terms of the distillation loss: tensors in, scalar out, one function each.

M rows of a minibatch, J joints. `weight` (M,) is how much a row counts: the weight of the teacher that labelled it, 0 for rows to
leave out. The PPO and bounds terms are core's.
"""

import torch
from torch import Tensor

from protege.core.learning.policy import kl_divergence
from protege.core.learning.ppo import bounds_loss, ppo_loss, value_loss

__all__ = [
    "bounds_loss",
    "distillation_loss",
    "kl_loss",
    "ppo_loss",
    "row_mean",
    "value_distillation_loss",
    "value_loss",
]


def row_mean(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean of weight · x over the rows with a positive weight: (M,), (M,) -> (); 0 if there are none.

    Twice the weight is twice the gradient: the weights are not normalised away. What rows of weight 0 hold does not reach the
    mean; that it is no NaN, for the gradient's sake, `RolloutBuffer.minibatches` sees to.
    """
    if weight is None:
        return x.mean()
    counts = weight > 0.0
    return torch.where(counts, weight * x, 0.0).sum() / counts.sum().clamp_min(1)


def squared_difference(mean: Tensor, teacher_mean: Tensor) -> Tensor:
    """How far an action is from the teacher's, mean square over joints: (M, J) rad each -> (M,) rad²."""
    return (mean - teacher_mean).square().mean(-1)


def distillation_loss(mean: Tensor, teacher_mean: Tensor, weight: Tensor | None = None) -> Tensor:
    """Imitation of the teacher's action: (M, J) rad each -> () rad²."""
    return row_mean(squared_difference(mean, teacher_mean), weight)


def kl_loss(
    mean: Tensor, std: Tensor, teacher_mean: Tensor, teacher_std: Tensor, weight: Tensor | None = None
) -> Tensor:
    """KL(student | teacher) a joint: (M, J) rad each -> () nats, averaged over joints and rows.

    In this direction a difference is measured in units of the *teacher's* deviation, so that a joint on which an ensemble
    disagrees pulls less than one on which it is sure. The other direction, with the student's fixed deviation, would only be
    the distillation loss once more in other units. Averaged over joints, its size does not depend on the robot.
    """
    return row_mean(kl_divergence(mean, std, teacher_mean, teacher_std) / mean.shape[-1], weight)


def value_distillation_loss(
    value: Tensor, teacher_value: Tensor, scale: Tensor | float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Squared difference of the critic's value from the teacher's, in units of `scale`, the returns' deviation: (M,) -> ()."""
    return row_mean(((value - teacher_value) / scale).square(), weight)
