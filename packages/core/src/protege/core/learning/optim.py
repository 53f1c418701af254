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


class Muon(torch.optim.Optimizer):
    """Momentum whose update of a weight matrix is orthogonalised, so that all its directions are learned equally fast.

    For hidden matrices; all other parameters need another optimizer (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    Args:
        params: matrices.
        lr: at the start; the update of a square matrix has a spectral norm of about lr.
        momentum: share of the last momentum that an update retains.
    """

    found_inf: Tensor | None = None
    """() 1 if the next step must change nothing; see `guarded_step`."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        params = list(params)
        super().__init__([{"params": params, "lr": torch.tensor(lr, device=params[0].device)}], {"momentum": momentum})
        for p in params:
            self.state[p]["momentum"] = torch.zeros_like(p)
        self.register_load_state_dict_post_hook(_rates_to_device)

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """Update all matrices that have a gradient."""
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                bad = torch.zeros_like(group["lr"]) if self.found_inf is None else self.found_inf
                grad, momentum = torch.where(bad > 0, 0.0, p.grad), self.state[p]["momentum"]
                momentum.lerp_(grad, (1.0 - group["momentum"]) * (1.0 - bad))
                update = orthogonalize(grad.lerp(momentum, group["momentum"]))
                scale = max(1.0, p.shape[0] / p.shape[1]) ** 0.5
                p.sub_(group["lr"] * scale * (1.0 - bad) * update)


def hidden_matrices(network: nn.Module) -> list[Tensor]:
    """Weights of all linear layers of a network but its last one; Muon is made for them."""
    return [layer.weight for layer in network.modules() if isinstance(layer, nn.Linear)][:-1]


def orthogonalize(matrix: Tensor, steps: int = 5) -> Tensor:
    """A matrix (R, C) with the same singular vectors and all singular values near 1, 0.7 to 1.2.

    By Newton-Schulz iterations with the coefficients of Muon, in bfloat16 on a GPU.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    x = x.T if matrix.shape[0] > matrix.shape[1] else x
    return x.to(matrix.dtype)


def _rates_to_device(optimizer: torch.optim.Optimizer) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].to(group["params"][0].device)


def backward(loss: Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Replace the gradients of the optimizers' parameters by those of a loss, (); zero where it does not depend on them."""
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    if loss.requires_grad:
        loss.backward()
    groups = (group for optimizer in optimizers for group in optimizer.param_groups)
    for parameter in (p for group in groups for p in group["params"] if p.grad is None):
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


def guarded_step(
    optimizer: torch.optim.AdamW | Muon, max_grad_norm: float, group: ProcessGroup = SINGLE_PROCESS
) -> Tensor:
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
    # AdamW's fused kernel and Muon change no parameter or moment if found_inf is 1; GradScaler uses the same mechanism.
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
