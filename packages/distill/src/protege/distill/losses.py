"""The losses of the distillation, in one unit: squares of an action's unit, averaged over joints.

So weights compare. A weight of 1 makes each pull alike: imitation and KL by how far the action is from the teacher's, PPO by how
far the action that was drawn is from the mean one, times its advantage. None depends on how many joints a robot has, or on how
much its policies explore. Tensors have M rows of a minibatch and J joints. `weight` (M,) is how much a row counts: the weight of
the teacher that labelled it, 0 for rows to leave out.
"""

import torch
from torch import Tensor

from protege.core.learning.policy import kl_divergence
from protege.core.learning.ppo import weighted_mean
from protege.core.learning.process_group import SINGLE_PROCESS, ProcessGroup

SMALLEST = 1e-6
"""Deviation of values below which all count as equal."""


def kl_loss(
    mean: Tensor, teacher_mean: Tensor, spread: Tensor, deviation: Tensor, weight: Tensor | None = None
) -> Tensor:
    """KL(student | teacher) a joint, times 2 deviation², averaged over joints and rows: (M, J) each -> ().

    Both have one common deviation, since those that policies were trained with say how much they explored and not how sure they
    are. The teacher's also has what an ensemble disagrees by: KL(N(mean, d²) | N(teacher_mean, d² + spread²)). So a joint on which
    an ensemble disagrees pulls less. Of a single teacher the loss is the squared difference of the means.

    Args:
        spread: (M, J) deviation of the teachers' means from each other; 0 of a single teacher.
        deviation: (J,) the common one.
    """
    own = deviation.expand_as(mean)
    theirs = (own.square() + spread.square()).sqrt()
    joints = (x.unsqueeze(-1) for x in (mean, own, teacher_mean, theirs))
    return weighted_mean((2.0 * own.square() * kl_divergence(*joints)).mean(-1), weight)


def ppo_unit(std: Tensor) -> Tensor:
    """What PPO's surrogate is multiplied by, 2 mean(std²) / J: (M, J) -> ().

    Its slope in a joint's mean action is then 2 std · z · advantage / J, where the action was drawn z deviations from the mean:
    that of the imitation loss of a teacher whose action is std · z · advantage away.
    """
    return 2.0 * std.square().mean() / std.shape[-1]


def value_distillation_loss(
    value: Tensor, teacher_value: Tensor, scale: Tensor | float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Squared difference of the critic's value from the teacher's, in units of `scale`, the returns' deviation: (M,) -> ().

    The critic shares no weights with the actor, which is deployed without it and must not see what the critic sees. So this loss
    reaches the actor through PPO: advantages are returns less the critic's values, and end in them.
    """
    return weighted_mean(((value - teacher_value) / scale).square(), weight)


def in_units_of_returns(
    values: Tensor, returns: Tensor, task: Tensor, num_tasks: int, weight: Tensor, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
    """Teachers' values with the mean and the deviation of the student's own returns, task by task; all (T, N).

    A teacher was rewarded for other things, and discounts otherwise. What it knows of the student's prospects is which states
    are better than others.

    Args:
        task: index of each env's task, below `num_tasks`.
        weight: 0 for rows to leave out.
    """
    matched = torch.zeros_like(values)
    for index in range(num_tasks):
        here = task == index
        rows = weight * here
        (mean, std), (wanted_mean, wanted_std) = (_moments(x, rows, group) for x in (values, returns))
        matched = torch.where(here, wanted_mean + wanted_std * (values - mean) / std.clamp_min(SMALLEST), matched)
    return matched


def _moments(x: Tensor, weight: Tensor, group: ProcessGroup) -> tuple[Tensor, Tensor]:
    mean = weighted_mean(x, weight, group)
    return mean, weighted_mean((x - mean).square(), weight, group).sqrt()
