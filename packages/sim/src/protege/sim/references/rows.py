"""Tensors with a row for each env, changed in place where a mask says so, so that a CUDA graph can hold them."""

import torch
from torch import Tensor


def assign_where(target: Tensor, mask: Tensor, value: Tensor) -> None:
    """Overwrite the rows of `target` (n, ...) where `mask` (n,) is True, in place."""
    torch.where(mask.reshape(-1, *[1] * (target.ndim - 1)), value, target, out=target)


def zero_where(target: Tensor, mask: Tensor) -> None:
    """Set the rows of `target` (n, ...) where `mask` (n,) is True to zero, in place."""
    target.masked_fill_(mask.reshape(-1, *[1] * (target.ndim - 1)), 0)
