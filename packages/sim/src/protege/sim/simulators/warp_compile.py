"""Compiles the kernels that a function launches in parallel; Warp itself compiles each kernel at its first launch."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import warp as wp
from warp._src.context import Module


def compile_together(work: Callable[[], None], workers: int) -> None:
    """Compile and load the modules of all kernels that `work` launches, without launching any.

    `work` runs once on the host, on one device. The body of a `wp.capture_while` runs once, since no kernel would end its loop.
    `work` may not otherwise depend on results of its kernels.

    Args:
        work: launches kernels, with `wp.launch` or similar functions.
        workers: number of modules that are compiled in parallel.
    """
    load_module = Module.load
    wanted: dict[Module, dict[int, Any]] = {}  # the device by block size

    def note(module: Module, device: Any, *block_dim: int) -> Any:
        """Replaces `Module.load`; Warp launches nothing from a module that is None."""
        if not block_dim:  # not a launch but a query about a kernel
            return load_module(module, device)
        wanted.setdefault(module, {})[block_dim[0]] = device
        return None

    def once(condition: Any, while_body: Callable[..., None], stream: Any = None, **kwargs: Any) -> None:
        """Replaces `wp.capture_while`."""
        while_body(**kwargs)

    def load(module: Module) -> None:
        for block_dim, device in wanted[module].items():
            load_module(module, device, block_dim)

    with patch.object(Module, "load", note), patch.object(wp, "capture_while", once):
        work()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(load, wanted))
