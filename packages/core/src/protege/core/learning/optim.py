"""Optimizer steps without device synchronisation: learning rates are tensors, and bad gradients are skipped on the device."""

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
    """Replace the parameters' gradients by those of a loss, (); zero for parameters that it does not depend on."""
    optimizer.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()
    for parameter in (p for group in optimizer.param_groups for p in group["params"] if p.grad is None):
        parameter.grad = torch.zeros_like(parameter)


def set_learning_rate(optimizer: torch.optim.Optimizer, *rates: float) -> None:
    """Set one learning rate per parameter group, or one for all, times `rate_share`, without device synchronisation."""
    share, groups = rate_share(optimizer), optimizer.param_groups
    for group, rate in zip(groups, rates * (len(groups) // len(rates)), strict=True):
        group["lr"].fill_(share * rate)


def rate_share(optimizer: torch.optim.Optimizer) -> float:
    """Factor on the learning rates: below 1 if the training has fallen back after divergence."""
    return getattr(optimizer, "rate_share", 1.0)


def set_rate_share(optimizer: torch.optim.Optimizer, share: float, factor: float) -> None:
    """Set `rate_share`, and multiply the current learning rates by `factor`, because some trainings never set them again."""
    optimizer.rate_share = share  # type: ignore[attr-defined]
    for group in optimizer.param_groups:
        group["lr"].mul_(factor)


def guarded_step(optimizer: torch.optim.AdamW, max_grad_norm: float, group: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """Take one optimizer step with gradients from `backward`, clipped by norm per parameter group. Skip it if one is not finite.

    Args:
        group: ranks that average their gradients; all take the same step or all skip it.

    Returns:
        () 1 if the step was skipped, else 0.
    """
    parts = [settings["params"] for settings in optimizer.param_groups]
    group.average(p.grad for part in parts for p in part if p.grad is not None)
    norms = [nn.utils.clip_grad_norm_(part, max_grad_norm) for part in parts]
    skipped = (~torch.stack(norms).isfinite()).any().float()
    # The fused kernel does not change parameters or moments if found_inf is 1; GradScaler uses the same mechanism.
    optimizer.found_inf = skipped  # type: ignore[attr-defined]
    optimizer.step()
    return skipped


def adapt_learning_rate(lr: Tensor, kl: Tensor, desired_kl: float, low: float, high: float) -> None:
    """Scale `lr` in place by sqrt(desired KL / measured KL), by at most a factor of 1.5. KL grows with the square of the rate.

    Args:
        lr: () learning rate.
        kl: () KL(old | new) over an update, nats. NaN means that nothing was measured, and `lr` is not changed.
    """
    factor = (desired_kl / kl.clamp_min(1e-9)).sqrt().clamp(1.0 / 1.5, 1.5)
    lr.mul_(torch.where(kl.isfinite(), factor, 1.0)).clamp_(low, high)


def cosine_rate(high: float, low: float, progress: float) -> float:
    """Cosine schedule from `high` to `low` over progress in [0, 1] (Loshchilov and Hutter 2016, arXiv 1608.03983)."""
    return low + 0.5 * (high - low) * (1.0 + cos(pi * progress))
