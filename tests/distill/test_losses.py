"""Every term against arithmetic by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from protege.core.learning.imitation import imitation_loss
from protege.core.learning.ppo import bounds_loss, ppo_loss, weighted_mean
from protege.distill.distillation import kl_loss, value_distillation_loss

MEAN = torch.tensor([[0.1, -0.2], [0.3, 0.4], [9.0, 9.0]])
TEACHER = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, 0.0]])
# Rows: a weight of 1, a weight of 3, and one to leave out.
WEIGHT = torch.tensor([1.0, 3.0, 0.0])


def test_the_mean_weighs_rows_and_counts_those_that_count():
    x = torch.tensor([2.0, 5.0, math.inf])
    assert weighted_mean(x, WEIGHT).item() == pytest.approx((1.0 * 2.0 + 3.0 * 5.0) / 2)
    assert weighted_mean(x[:2]).item() == pytest.approx(3.5)
    assert weighted_mean(x, torch.zeros(3)).item() == 0.0


def test_twice_the_weight_is_twice_the_gradient():
    gradients = []
    for scale in (1.0, 2.0):
        mean = MEAN.clone().requires_grad_()
        imitation_loss(mean, TEACHER, scale * WEIGHT).backward()
        assert mean.grad is not None
        gradients.append(mean.grad)
    torch.testing.assert_close(gradients[1], 2.0 * gradients[0])
    assert gradients[0][2].eq(0.0).all()  # the row that is left out


def test_distillation_by_hand():
    # Row 0: (0.01 + 0.04) / 2 = 0.025; row 1: (0 + 0.16) / 2 = 0.08. (1 x 0.025 + 3 x 0.08) / 2 rows.
    assert imitation_loss(MEAN, TEACHER, WEIGHT).item() == pytest.approx(0.1325)


def test_kl_by_hand():
    mean, std = torch.tensor([[0.1, 0.0]]), torch.tensor([[0.2, 0.1]])
    teacher_mean, teacher_std = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.1, 0.1]])
    # Joint 0: log(0.1 / 0.2) + (0.04 + 0.01) / (2 x 0.01) - 1/2 = 2 - log 2; joint 1: 0. A joint: half of it.
    expected = (2.0 - math.log(2.0)) / 2
    assert kl_loss(mean, std, teacher_mean, teacher_std).item() == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), st.floats(0.02, 0.5), st.floats(0.02, 0.5))
def test_kl_is_that_of_student_to_teacher(means, std, teacher_std):
    mean, teacher = torch.tensor(means, dtype=torch.float64).view(2, 1, 2)
    a, b = torch.full_like(mean, std), torch.full_like(mean, teacher_std)
    expected = kl_divergence(Normal(mean, a), Normal(teacher, b)).mean()
    torch.testing.assert_close(kl_loss(mean, a, teacher, b), expected)


def test_kl_pulls_less_where_the_teachers_are_unsure():
    mean = torch.zeros(1, 2, requires_grad=True)
    std = torch.full((1, 2), 0.05)
    kl_loss(mean, std, torch.full((1, 2), 0.1), torch.tensor([[0.05, 0.1]])).backward()
    assert mean.grad is not None
    sure, unsure = mean.grad[0].abs().tolist()
    assert sure == pytest.approx(4.0 * unsure)


def test_value_distillation_by_hand():
    value, teacher = torch.tensor([1.0, 4.0, math.nan]), torch.tensor([3.0, 1.0, 0.0])
    # ((1 - 3) / 2)² = 1 and ((4 - 1) / 2)² = 2.25, weighed 1 and 3, over two rows.
    loss = value_distillation_loss(value, teacher, torch.tensor([2.0]), WEIGHT)
    assert loss.item() == pytest.approx((1.0 + 3.0 * 2.25) / 2)


def test_ppo_by_hand():
    # Ratios 1.5 (clipped to 1.2), 0.5 (the unclipped one is worse), 1.
    new = torch.tensor([1.5, 0.5, 1.0]).log()
    advantage = torch.tensor([1.0, -1.0, 4.0])
    valid = torch.tensor([1.0, 1.0, 0.0])
    # -(min(1.5, 1.2) + min(-0.5, -0.8)) / 2 = -(1.2 - 0.8) / 2
    assert ppo_loss(new, torch.zeros(3), advantage, 0.2, valid).item() == pytest.approx(-0.2)


def test_bounds_by_hand():
    mean, bound = torch.tensor([[1.3, -0.5], [0.0, -2.5]]), torch.tensor([1.0, 2.0])
    # 0.3² and 0.5², mean over the two rows.
    assert bounds_loss(mean, bound).item() == pytest.approx((0.09 + 0.25) / 2)
