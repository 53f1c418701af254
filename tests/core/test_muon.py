"""Muon, the optimizer of the world model's hidden matrices."""

import pytest
import torch
from torch import nn

from protege.core.learning.optim import Muon, backward, guarded_step, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (24, 6), (6, 24)])
def test_singular_values_become_nearly_equal_and_vectors_stay(shape):
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(shape, generator=generator, dtype=torch.float64)
    left, _, right = torch.linalg.svd(random, full_matrices=False)
    values = torch.logspace(0, 1, min(shape), dtype=torch.float64)  # far from equal
    inner = left.T @ orthogonalize(left * values @ right) @ right.T
    assert (inner - inner.diagonal().diag()).abs().max() < 1e-9
    assert inner.diagonal().min() > 0.6 and inner.diagonal().max() < 1.3


def by_hand(x: float) -> float:
    """Five iterations on a single positive number, which is first divided by its norm."""
    x /= x + 1e-7
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    return x


def test_two_steps_by_hand():
    weight = nn.Parameter(torch.tensor([[1.0]]))
    optimizer = Muon([weight], lr=0.1, momentum=0.9)
    backward((3.0 * weight).sum(), optimizer)
    assert guarded_step(optimizer, 100.0) == 0.0
    # momentum 0.1 * 3 = 0.3; Nesterov 0.1 * 3 + 0.9 * 0.3 = 0.57
    first = 1.0 - 0.1 * by_hand(0.57)
    assert weight.item() == pytest.approx(first, abs=1e-6)
    backward((-1.0 * weight).sum(), optimizer)
    guarded_step(optimizer, 100.0)
    # momentum 0.9 * 0.3 - 0.1 = 0.17; Nesterov -0.1 + 0.9 * 0.17 = 0.053
    assert weight.item() == pytest.approx(first - 0.1 * by_hand(0.053), abs=1e-6)


def test_a_tall_matrix_takes_larger_steps():
    tall, square = nn.Parameter(torch.zeros(16, 4)), nn.Parameter(torch.zeros(4, 4))
    optimizer = Muon([tall, square], lr=0.1)
    gradient = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
    backward((tall * gradient[:, :4]).sum() + (square * torch.eye(4)).sum(), optimizer)
    guarded_step(optimizer, 100.0)
    largest = [torch.linalg.matrix_norm(weight.detach(), ord=2).item() for weight in (tall, square)]
    assert largest[0] / largest[1] == pytest.approx(2.0, abs=1e-4)  # sqrt(16 / 4)


def test_a_gradient_that_is_not_finite_changes_nothing():
    weight = nn.Parameter(torch.eye(3))
    optimizer = Muon([weight], lr=0.1)
    backward(weight.square().sum(), optimizer)
    guarded_step(optimizer, 1.0)
    before, momentum = weight.detach().clone(), optimizer.state[weight]["momentum"].clone()
    backward((weight * torch.nan).sum(), optimizer)
    assert guarded_step(optimizer, 1.0) == 1.0
    assert torch.equal(weight, before) and torch.equal(optimizer.state[weight]["momentum"], momentum)
    backward(weight.square().sum(), optimizer)
    assert guarded_step(optimizer, 1.0) == 0.0
    assert not torch.equal(weight, before)
