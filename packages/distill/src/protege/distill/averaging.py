"""Averages of weights: of a model over its training, and of several policies that were trained on from one."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from protege.core.checkpoint import Checkpoint
from protege.core.errors import UserError


class WeightAverage[M: nn.Module]:
    """Keeps `model`, a copy whose parameters are an exponential moving average of another's (Polyak and Juditsky 1992).

    The average is young at first: update n keeps at most (1 + n) / (10 + n) of the past, so that the starting weights are
    forgotten fast. Buffers (normalisers) are copied: they are running averages already.

    Args:
        source: the model that is trained.
        decay: share of the past that an update keeps in the long run; 0 makes the copy exact.
    """

    def __init__(self, source: M, decay: float) -> None:
        self.model: M = copy.deepcopy(source).requires_grad_(False).eval()
        self.decay = decay

    @torch.no_grad()
    def update(self, source: M, updates: int) -> None:
        """Take in the source's weights after its update number `updates` (0, 1, ...)."""
        kept = min(self.decay, (1 + updates) / (10 + updates))
        average = get_ema_multi_avg_fn(kept)  # all parameters at once: a few launches on a GPU, not one for each
        average(list(self.model.parameters()), list(source.parameters()), updates)

    @torch.no_grad()
    def copy_buffers(self, source: M) -> None:
        """Take over the source's buffers."""
        for mine, theirs in zip(self.model.buffers(), source.buffers(), strict=True):
            mine.copy_(theirs)


def soup(parts: Mapping[str, Checkpoint]) -> Checkpoint:
    """The policy whose weights, normalisers included, are the mean of several's (Wortsman et al. 2022, arXiv 2203.05482).

    Worth a try where all were trained on from the same weights; others' means act like none of them.

    Args:
        parts: two or more, by what to call them in an error. The first one's config and facts are kept.

    Returns:
        a checkpoint that can act and not resume; iterations, samples and seconds are all parts' together.

    Raises:
        UserError: fewer than two, or naming one that is another kind, robot, or of other sizes than the first.
    """
    if len(parts) < 2:
        raise UserError("one policy has no average", "Name two or more")
    (first_name, first), *others = parts.items()
    for name, part in others:
        for what in ("kind", "robot", "joint_names", "obs_shapes"):
            if getattr(part, what) != getattr(first, what):
                raise UserError(f"{name} differs from {first_name} in {what}", "Average policies trained on from one")
        sizes = {key: x.shape for key, x in part.model.items()}
        if odd := sizes.items() ^ {key: x.shape for key, x in first.model.items()}.items():
            raise UserError(
                f"{name} differs from {first_name} at {min(odd)[0]}", "Average policies trained on from one"
            )
    models = [part.model for part in parts.values()]
    spent = {what: sum(getattr(part, what) for part in parts.values()) for what in ("iteration", "samples", "seconds")}
    model = {key: _mean([each[key] for each in models]) for key in first.model}
    return replace(first, model=model, metrics={}, training={}, finished=True, **spent)


def _mean(tensors: list[Tensor]) -> Tensor:
    """Of equal shapes, each (...); of what is counted in whole numbers the first."""
    return torch.stack(tensors).mean(dim=0) if tensors[0].is_floating_point() else tensors[0]
