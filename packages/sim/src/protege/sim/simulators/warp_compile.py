"""Compiles the kernels that a function launches in parallel; Warp itself compiles each kernel at its first launch.

Warp generates a kernel's source in Python, under a lock, which takes longer than compiling it. Modules are therefore built by
forked processes, which write them to Warp's cache on disk. This process then loads them from there.
"""

import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import warp as wp
from warp._src.context import Module

BUILD_TIMEOUT = 300.0
"""Seconds that the build of a module may take."""
Job = tuple[Module, int, Any]
"""A module, the block size of its kernels, and the device for which it is built."""


class Build:
    """The modules of all kernels that a function launches; other processes compile them in the background.

    `work` runs once on the host, on one device, and launches nothing. The body of a `wp.capture_while` runs once, since no kernel
    would end its loop. `work` may not otherwise depend on results of its kernels.

    Args:
        work: launches kernels, with `wp.launch` or similar functions.
        workers: largest number of modules that are compiled in parallel.
    """

    def __init__(self, work: Callable[[], object], workers: int) -> None:
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

        load_module = Module.load
        with patch.object(Module, "load", note), patch.object(wp, "capture_while", once):
            work()
        self.workers = workers
        self.jobs = [
            (module, block_dim, device) for module, variants in wanted.items() for block_dim, device in variants.items()
        ]
        uncached = [job for job in self.jobs if not _cached(*job)]
        self.builder: BaseProcess | None = None
        if len(uncached) > 1 and workers > 1 and sys.platform == "linux":
            # One process forks the others: this one may start threads meanwhile, and must not fork then.
            self.builder = multiprocessing.get_context("fork").Process(
                target=_build_in_processes, args=(uncached, min(workers, len(uncached)))
            )
            self.builder.start()

    def load(self) -> None:
        """Wait for the modules, and load them."""
        if self.builder is not None:
            self.builder.join()
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(lambda job: job[0].load(job[2], job[1]), self.jobs))

    def cancel(self) -> None:
        """Stop compiling, if it has not ended."""
        if self.builder is not None:
            self.builder.terminate()


def _cached(module: Module, block_dim: int, device: Any) -> bool:
    """Whether a module's binary is in Warp's cache on disk."""
    folder = Path(wp.config.kernel_cache_dir or "") / module.get_module_identifier(block_dim)
    return (folder / module._get_compile_output_name(device, block_dim=block_dim)).exists()


def _build_in_processes(jobs: Sequence[Job], workers: int) -> None:
    """Build modules into Warp's cache on disk, each in a forked process, at most `workers` at a time.

    A process generates and compiles code. It makes no call to the CUDA driver, whose state does not survive a fork. A module whose
    process fails or takes too long is not in the cache afterwards: `Build.load` then builds it itself.
    """
    fork, waiting, running = multiprocessing.get_context("fork"), list(jobs), list[BaseProcess]()
    while waiting or running:
        while waiting and len(running) < workers:
            process = fork.Process(target=_build, args=waiting.pop(0), daemon=True)  # inherits its arguments
            process.start()
            running.append(process)
        ended = wait([process.sentinel for process in running], BUILD_TIMEOUT)
        for process in [process for process in running if not ended or process.sentinel in ended]:
            process.kill()
            process.join()
            running.remove(process)


def _build(module: Module, block_dim: int, device: Any) -> None:
    module._compile(device, options=module.resolve_options(wp.config, block_dim=block_dim))
