"""The losses of the distillation, all in the square of the action's unit, averaged over joints.

A common unit makes the weights comparable. At weight 1 the gradient of imitation and KL is proportional to the distance between the
student's and the teacher's action. That of PPO is proportional to the distance between the sampled and the mean action, times the
advantage. None depends on the number of joints or on the amount of exploration. Tensors have M rows of a minibatch and J joints.
`weight` (M,) is the weight of each row: that of the teacher that labelled it, or 0 to leave the row out.
"""

import torch
from torch import Tensor

from protege.core.learning.policy import kl_divergence
from protege.core.learning.ppo import weighted_mean
from protege.core.learning.process_group import SINGLE_PROCESS, ProcessGroup

MIN_STD = 1e-6
"""Lower bound of the values' standard deviation, against division by zero."""


def kl_loss(
    mean: Tensor, teacher_mean: Tensor, spread: Tensor, deviation: Tensor, weight: Tensor | None = None
) -> Tensor:
    """KL(student | teacher) of each joint, times 2 deviation², averaged over joints and rows: (M, J) each -> ().

    Both distributions have one common standard deviation, because the deviations with which policies were trained measure their
    exploration, not their certainty. The teacher's variance also includes the disagreement of an ensemble:
    KL(N(mean, d²) | N(teacher_mean, d² + spread²)). Joints on which an ensemble disagrees therefore contribute less. For a single
    teacher the loss equals the squared difference of the means.

    Args:
        spread: (M, J) standard deviation of the teachers' means across the ensemble; 0 for a single teacher.
        deviation: (J,) the common standard deviation.
    """
    std = deviation.expand_as(mean)
    teacher_std = (std.square() + spread.square()).sqrt()
    joints = (x.unsqueeze(-1) for x in (mean, std, teacher_mean, teacher_std))
    return weighted_mean((2.0 * std.square() * kl_divergence(*joints)).mean(-1), weight)


def ppo_unit(std: Tensor) -> Tensor:
    """The factor of PPO's surrogate loss, 2 mean(std²) / J: (M, J) -> ().

    With it the gradient with respect to a joint's mean action is 2 std · z · advantage / J, where the sampled action is z standard
    deviations from the mean. This equals the gradient of the imitation loss for a teacher whose action is std · z · advantage away.
    """
    return 2.0 * std.square().mean() / std.shape[-1]


def value_distillation_loss(
    value: Tensor, teacher_value: Tensor, scale: Tensor | float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Squared difference of the critic's value from the teacher's, in units of `scale`, the returns' deviation: (M,) -> ().

    The critic shares no weights with the actor, which is deployed without it and without its extra inputs. This loss therefore
    affects the actor only through PPO, whose advantages are estimated with the critic's values.
    """
    return weighted_mean(((value - teacher_value) / scale).square(), weight)


def rescale_to_returns(
    values: Tensor, returns: Tensor, task: Tensor, num_tasks: int, weight: Tensor, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """Teachers' values rescaled to the mean and standard deviation of the student's own returns, for each task; all (T, N).

    Teachers were trained with other rewards and discounts, so that only the relative order of their values is useful.

    Args:
        task: index of each env's task, less than `num_tasks`.
        weight: 0 for rows to leave out.
    """
    rescaled = torch.zeros_like(values)
    for index in range(num_tasks):
        in_task = task == index
        rows = weight * in_task
        (mean, std), (return_mean, return_std) = (_moments(x, rows, group) for x in (values, returns))
        rescaled = torch.where(in_task, return_mean + return_std * (values - mean) / std.clamp_min(MIN_STD), rescaled)
    return rescaled


def _moments(x: Tensor, weight: Tensor, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    mean = weighted_mean(x, weight, group)
    return mean, weighted_mean((x - mean).square(), weight, group).sqrt()
