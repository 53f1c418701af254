"""Optimiser steps without a wait for the device: learning rates are tensors, a bad gradient is skipped on the device."""

from collections.abc import Iterable
from math import cos, pi

import torch
from torch import Tensor, nn

from .process_group import SINGLE_PROCESS, ProcessGroup


def adamw(groups: Iterable[tuple[Iterable[nn.Parameter], float]]) -> torch.optim.AdamW:
    """Fused AdamW without weight decay over (parameters, learning rate) groups."""
    settings = []
    for parameters, lr in groups:
        parameters = list(parameters)
        settings.append({"params": parameters, "lr": torch.tensor(lr, device=parameters[0].device)})
    optimizer = torch.optim.AdamW(settings, weight_decay=0.0, fused=True)
    optimizer.register_load_state_dict_post_hook(_rates_to_device)
    return optimizer


def _rates_to_device(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].to(group["params"][0].device)


def backward(optimizer: torch.optim.AdamW, loss: Tensor) -> None:
    """Leave the gradient of a loss, (), in the parameters, in place of what they held; zero in those that it does not depend on."""
    optimizer.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()
    for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is None):
        parameter.grad = torch.zeros_like(parameter)


def set_learning_rate(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    """Set the learning rate of each parameter group, or one of all, times `rate_share`, without a wait for the device."""
    share, groups = rate_share(optimizer), optimizer.param_groups
    for group, rate in zip(groups, rates * (len(groups) // len(rates)), strict=True):
        group["lr"].fill_(share * rate)


def rate_share(optimizer: torch.optim.Optimizer) -> float:
    """What is left of the learning rates of a training that has fallen back; 1 of one that has not."""
    return getattr(optimizer, "rate_share", 1.0)


def set_rate_share(optimizer: torch.optim.Optimizer, share: float, factor: float) -> None:
    """Set `rate_share`, and multiply the learning rates of now, which some trainings never set again."""
    optimizer.rate_share = share  # type: ignore[attr-defined]
    for group in optimizer.param_groups:
        group["lr"].mul_(factor)


def guarded_step(optimizer: torch.optim.AdamW, max_grad_norm: float, group: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """One step down the gradient that `backward` left, each parameter group clipped to a norm; none where it is NaN or infinite.

    Args:
        group: its ranks take the same step, along the mean of their gradients, or none.

    Returns:
        () 1 if the step was skipped, else 0.
    """
    parts = [settings["params"] for settings in optimizer.param_groups]
    group.average(p.grad for part in parts for p in part if p.grad is not None)
    norms = [nn.utils.clip_grad_norm_(part, max_grad_norm) for part in parts]
    skipped = (~torch.stack(norms).isfinite()).any().float()
    # The fused kernel leaves parameters and moments alone where found_inf is 1: the switch that GradScaler uses.
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.step()
    return skipped


def adapt_learning_rate(lr: Tensor, kl: Tensor, desired_kl: float, low: float, high: float) -> None:
    """Change `lr` in place by the root of desired over measured divergence, within a factor of 1.5: KL goes with the rate squared.

    Args:
        lr: () learning rate.
        kl: () KL(old | new) over an update, nats. NaN, nothing was measured, changes nothing.
    """
    factor = (desired_kl / kl.clamp_min(1e-9)).sqrt().clamp(1.0 / 1.5, 1.5)
    lr.mul_(torch.where(kl.isfinite(), factor, 1.0)).clamp_(low, high)


def cosine_rate(high: float, low: float, progress: float) -> float:
    """From `high` to `low` along half a cosine of progress, 0 to 1 (Loshchilov and Hutter 2016, arXiv 1608.03983)."""
    return low + 0.5 * (high - low) * (1.0 + cos(pi * progress))
