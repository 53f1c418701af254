"""Work on static tensors as one CUDA graph: a launch instead of hundreds."""

from collections.abc import Callable
from typing import Any

import torch


class Recorded[T]:
    """A function without arguments that reads and writes tensors in place.

    On a GPU its first calls run it as it is, which sets up whatever is set up at first use; then it is captured, and every call
    replays the graph and returns the same tensors, overwritten. On a CPU it is just called.

    Args:
        work: the function. Its results may be any structure of tensors.
        device: of its tensors.
        generator: whose draws it makes.
    """

    EAGER_CALLS = 3

    def __init__(self, work: Callable[[], T], device: torch.device, generator: torch.Generator) -> None:
        self.work, self.device, self.generator = work, device, generator
        self.calls = 0
        self.graph: Any = None
        self.result: T | None = None

    def __call__(self) -> T:
        if self.device.type != "cuda" or self.calls < self.EAGER_CALLS:
            self.calls += 1
            return self.work()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            self.graph.register_generator_state(self.generator)
            with torch.cuda.graph(self.graph):
                self.result = self.work()
        self.graph.replay()
        assert self.result is not None
        return self.result
