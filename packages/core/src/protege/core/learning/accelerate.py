"""Faster networks on a GPU: mixed precision and compilation. No effect on a CPU."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread
from typing import Any

import torch
from torch import nn

logger = logging.getLogger(__name__)


def accelerate[M: nn.Module](policy: M, device: torch.device | str, mixed_precision: bool, compile: bool) -> M:
    """Speed up a policy that is trained or that labels, in place.

    Args:
        mixed_precision: run its networks in bfloat16; weights, normalisers, losses and the optimizer stay in float32.
        compile: compile each of its networks at its first use, for fixed batch sizes. Needs Triton.
    """
    if torch.device(device).type == "cuda":
        torch.set_float32_matmul_precision("high")
        policy.in_bfloat16 = mixed_precision  # pyright: ignore[reportArgumentType]
        if compile and not find_spec("triton"):
            logger.warning(
                "networks are not compiled, which trains slower: triton is not installed (pip install triton)"
            )
        elif compile:
            torch._dynamo.config.recompile_limit = 32  # each network sees a few batch sizes, with and without gradients
            for network in policy.children():
                if any(True for _ in network.parameters()):
                    network.compile(dynamic=False)
    return policy


def compiles(device: torch.device | str, wanted: bool) -> bool:
    """Whether code is compiled for a device: if wanted, on CUDA, and if Triton is installed."""
    return wanted and torch.device(device).type == "cuda" and find_spec("triton") is not None


def compiled(function: Callable[..., Any], device: torch.device | str, wanted: bool) -> Callable[..., Any]:
    """The function, compiled for fixed batch sizes at its first use if `compiles` says so."""
    return torch.compile(function, dynamic=False) if compiles(device, wanted) else function


@contextmanager
def loading_compiler(device: torch.device | str, wanted: bool) -> Iterator[None]:
    """Load torch's compiler, and start its worker processes, while the code in this context runs; only if `compiles` says so.

    This takes several seconds, which an environment that waits for its own kernels to be compiled can give.
    """
    thread = Thread(target=_load_compiler) if compiles(device, wanted) else None
    if thread is not None:
        thread.start()
    try:
        yield
    finally:
        if thread is not None:
            thread.join()


def _load_compiler() -> None:
    from torch._inductor.async_compile import AsyncCompile

    AsyncCompile.wakeup()


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Disable gradients of the module's parameters in this context, so that compiled code does not compute them."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def mixed_precision(policy: nn.Module) -> torch.autocast:
    """The autocast context of a policy's networks; see `accelerate`."""
    return torch.autocast("cuda", torch.bfloat16, enabled=getattr(policy, "in_bfloat16", False))
