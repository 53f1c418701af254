"""Speed on a GPU: matrix products in bfloat16, compiled networks. On a CPU nothing changes."""

import logging
from importlib.util import find_spec

import torch
from torch import nn

from ..runs.config import RunConfig

logger = logging.getLogger(__name__)


def accelerate[M: nn.Module](policy: M, run: RunConfig, device: torch.device | str) -> M:
    """Make a policy that is trained, or that labels, fast on its device; in place.

    Its networks are compiled one by one for fixed batch sizes, each at its first use. Where `mixed_precision` is in force they
    compute in bfloat16 (weights, normalisers, losses and the optimiser stay float32). Without Triton they are not compiled.
    """
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")
        policy.in_bfloat16 = run.mixed_precision  # pyright: ignore[reportArgumentType]
        if run.compile and not find_spec("triton"):
            logger.warning(
                "networks are not compiled, which trains slower: triton is not installed (pip install triton)"
            )
        elif run.compile:
            torch._dynamo.config.recompile_limit = 32  # each network sees a few batch sizes, with and without gradients
            for network in policy.children():
                if any(True for _ in network.parameters()):
                    network.compile(dynamic=False)
    return policy


def mixed_precision(policy: nn.Module) -> torch.autocast:
    """The context in which a policy's networks run; see `accelerate`."""
    return torch.autocast("cuda", torch.bfloat16, enabled=getattr(policy, "in_bfloat16", False))
