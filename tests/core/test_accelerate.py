"""Acceleration of policies for a GPU, tested without one."""

import logging

import pytest
import torch
from torch import nn

from protege.core.learning.accelerate import accelerate


class Policy(nn.Module):
    in_bfloat16 = False

    def __init__(self) -> None:
        super().__init__()
        self.network, self.empty = nn.Linear(2, 2), nn.Identity()


def is_compiled(policy: Policy) -> list[bool]:
    return [network._compiled_call_impl is not None for network in policy.children()]


@pytest.fixture(autouse=True)
def precision() -> object:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_networks_are_compiled_for_a_gpu_if_triton_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protege.core.learning.accelerate.find_spec", lambda name: object())
    assert is_compiled(accelerate(Policy(), "cuda", mixed_precision=True, compile=True)) == [True, False]
    assert is_compiled(accelerate(Policy(), "cuda", mixed_precision=True, compile=False)) == [False, False]
    assert is_compiled(accelerate(Policy(), "cpu", mixed_precision=True, compile=True)) == [False, False]


def test_without_triton_networks_run_uncompiled_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("protege.core.learning.accelerate.find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING):
        policy = accelerate(Policy(), "cuda", mixed_precision=True, compile=True)
    assert is_compiled(policy) == [False, False] and policy.in_bfloat16
    assert "triton is not installed" in caplog.text
