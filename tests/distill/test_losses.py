"""Every loss term against arithmetic by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from protege.core.learning.imitation import imitation_loss
from protege.core.learning.policy import log_prob
from protege.core.learning.ppo import bounds_loss, ppo_loss, weighted_mean
from protege.core.learning.process_group import SINGLE_PROCESS
from protege.distill.distillation import rms_error
from protege.distill.losses import kl_loss, ppo_unit, rescale_to_returns, value_distillation_loss

MEAN = torch.tensor([[0.1, -0.2], [0.3, 0.4], [9.0, 9.0]])
TEACHER = torch.tensor([[0.0, 0.0], [0.3, 0.0], [0.0, 0.0]])
# The last row is left out.
WEIGHT = torch.tensor([1.0, 3.0, 0.0])


def test_the_weighted_mean_divides_by_the_number_of_rows_with_weight():
    x = torch.tensor([2.0, 5.0, math.inf])
    assert weighted_mean(x, WEIGHT).item() == pytest.approx((1.0 * 2.0 + 3.0 * 5.0) / 2)
    assert weighted_mean(x[:2]).item() == pytest.approx(3.5)
    assert weighted_mean(x, torch.zeros(3)).item() == 0.0


def test_twice_the_weight_gives_twice_the_gradient():
    gradients = []
    for scale in (1.0, 2.0):
        mean = MEAN.clone().requires_grad_()
        imitation_loss(mean, TEACHER, scale * WEIGHT).backward()
        assert mean.grad is not None
        gradients.append(mean.grad)
    torch.testing.assert_close(gradients[1], 2.0 * gradients[0])
    assert gradients[0][2].eq(0.0).all()  # the row that is left out


def test_the_distillation_loss_by_hand():
    # Row 0: (0.01 + 0.04) / 2 = 0.025; row 1: (0 + 0.16) / 2 = 0.08. (1 x 0.025 + 3 x 0.08) / 2 rows.
    assert imitation_loss(MEAN, TEACHER, WEIGHT).item() == pytest.approx(0.1325)


def test_the_kl_loss_by_hand():
    mean, teacher_mean, spread = torch.tensor([[0.1, 0.3]]), torch.tensor([[0.0, 0.0]]), torch.tensor([[0.0, 0.2]])
    deviation = torch.tensor([0.1, 0.2])
    # Joint 0: equal deviations, the squared difference, 0.01. Joint 1: the teacher's is sqrt(0.04 + 0.04), so that the KL is
    # log(2) / 2 + (0.04 + 0.09) / (2 x 0.08) - 1/2, times 2 x 0.04.
    second = 0.08 * (0.5 * math.log(2.0) + 0.13 / 0.16 - 0.5)
    loss = kl_loss(mean, teacher_mean, spread, deviation)
    assert loss.item() == pytest.approx((0.01 + second) / 2, rel=1e-5)


@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), st.floats(0.02, 0.5), st.floats(0.0, 0.5))
def test_the_kl_loss_is_that_of_the_student_from_the_teacher(means, deviation, spread):
    mean, teacher = torch.tensor(means, dtype=torch.float64).view(2, 1, 2)
    own, other = torch.full_like(mean, deviation), torch.full_like(mean, spread)
    divergence = kl_divergence(Normal(mean, own), Normal(teacher, (own.square() + other.square()).sqrt()))
    torch.testing.assert_close(kl_loss(mean, teacher, other, own[0]), 2.0 * deviation**2 * divergence.mean())


def test_the_kl_loss_of_a_single_teacher_equals_imitation_for_any_deviation():
    for deviation in (0.02, 0.4):
        losses = kl_loss(MEAN, TEACHER, torch.zeros_like(MEAN), torch.full((2,), deviation), WEIGHT)
        assert losses.item() == pytest.approx(imitation_loss(MEAN, TEACHER, WEIGHT).item(), rel=1e-4)


def test_the_kl_gradient_is_smaller_where_the_teachers_disagree():
    mean = torch.zeros(1, 2, requires_grad=True)
    spread = torch.tensor([[0.0, 0.05 * math.sqrt(3.0)]])  # the total deviation is twice the common one
    kl_loss(mean, torch.full((1, 2), 0.1), spread, torch.full((2,), 0.05)).backward()
    assert mean.grad is not None
    agreed, disagreed = mean.grad[0].abs().tolist()
    assert agreed == pytest.approx(4.0 * disagreed)


@pytest.mark.parametrize(("joints", "std"), [(2, 0.05), (7, 0.4)])
def test_ppos_gradient_at_advantage_1_equals_that_of_imitating_the_action(joints, std):
    action = std * torch.linspace(-1.0, 1.5, joints).unsqueeze(0)
    gradients = []
    for name in ("ppo", "imitation"):
        mean, deviation = torch.zeros(1, joints, requires_grad=True), torch.full((1, joints), std)
        if name == "ppo":
            new = log_prob(action, mean, deviation)
            loss = ppo_unit(deviation) * ppo_loss(new, new.detach(), torch.ones(1), 0.2)
        else:
            loss = imitation_loss(mean, action)
        loss.backward()
        assert mean.grad is not None
        gradients.append(mean.grad)
    torch.testing.assert_close(*gradients)


def test_teachers_values_rescaled_to_the_students_returns_by_hand():
    values = torch.tensor([[1.0, 10.0, 7.0], [3.0, 30.0, 9.0]])
    returns = torch.tensor([[0.0, 5.0, -4.0], [4.0, 5.0, 99.0]])
    task = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    weight = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]])  # the third env is left out
    # Task 0: values 2 ± 1, returns 2 ± 2. Task 1: values 20 ± 10, returns always 5. Env 2 as task 0: 7 is 5 deviations up.
    expected = torch.tensor([[0.0, 5.0, 12.0], [4.0, 5.0, 16.0]])
    torch.testing.assert_close(rescale_to_returns(values, returns, task, 2, weight), expected)


def test_the_root_mean_square_error_by_hand():
    mean = torch.tensor([[[3.0, 1.0], [4.0, 1.0], [math.nan, 0.0]]])
    error = rms_error(mean, torch.zeros_like(mean), torch.tensor([[1.0, 2.0, 0.0]]), SINGLE_PROCESS)
    torch.testing.assert_close(error, torch.tensor([math.sqrt(12.5), 1.0]))


def test_the_value_distillation_loss_by_hand():
    value, teacher = torch.tensor([1.0, 4.0, math.nan]), torch.tensor([3.0, 1.0, 0.0])
    # ((1 - 3) / 2)² = 1 and ((4 - 1) / 2)² = 2.25, with weights 1 and 3, over two rows.
    loss = value_distillation_loss(value, teacher, torch.tensor([2.0]), WEIGHT)
    assert loss.item() == pytest.approx((1.0 + 3.0 * 2.25) / 2)


def test_the_ppo_loss_by_hand():
    # Ratios 1.5 (clipped to 1.2), 0.5 (clipped to 0.8, which is worse), 1 (left out).
    new = torch.tensor([1.5, 0.5, 1.0]).log()
    advantage = torch.tensor([1.0, -1.0, 4.0])
    valid = torch.tensor([1.0, 1.0, 0.0])
    # -(min(1.5, 1.2) + min(-0.5, -0.8)) / 2 = -(1.2 - 0.8) / 2
    assert ppo_loss(new, torch.zeros(3), advantage, 0.2, valid).item() == pytest.approx(-0.2)


def test_the_bounds_loss_by_hand():
    mean, bound = torch.tensor([[1.3, -0.5], [0.0, -2.5]]), torch.tensor([1.0, 2.0])
    # 0.3² and 0.5², mean over the two rows.
    assert bounds_loss(mean, bound).item() == pytest.approx((0.09 + 0.25) / 2)
