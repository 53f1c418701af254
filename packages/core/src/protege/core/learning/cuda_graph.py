"""Work on tensors as one CUDA graph: a launch instead of hundreds."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Recorded[T]:
    """A function that reads and writes tensors in place, without waiting for the device.

    On a GPU its first calls run it as it is, which sets up whatever is set up at first use; then it is captured, and every call
    copies its arguments to where the graph reads them, replays the graph and returns the same tensors, overwritten. On a CPU it
    is just called.

    Args:
        work: the function, of tables of tensors whose shapes are the same in every call. Its results may be any structure of
            tensors; it may leave gradients in parameters.
        device: of its tensors.
        generator: whose draws it makes, if any.
    """

    EAGER_CALLS = 3

    def __init__(
        self, work: Callable[..., T], device: torch.device | str, generator: torch.Generator | None = None
    ) -> None:
        self.work, self.device, self.generator = work, torch.device(device), generator
        self.aside = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.calls = 0
        self.recording: tuple[torch.cuda.CUDAGraph, tuple[dict[str, Tensor], ...], T] | None = None

    def __call__(self, *tables: Mapping[str, Tensor]) -> T:
        if self.aside is None:
            return self.work(*tables)
        if self.calls < self.EAGER_CALLS:
            self.calls += 1
            # On the stream on which it will be captured: what autograd sets up remembers its stream.
            here = torch.cuda.current_stream(self.device)
            self.aside.wait_stream(here)
            with torch.cuda.stream(self.aside):
                result = self.work(*tables)
            here.wait_stream(self.aside)
            return result
        if self.recording is None:
            inputs = tuple({name: x.clone() for name, x in table.items()} for table in tables)
            graph = torch.cuda.CUDAGraph()
            if self.generator is not None:
                graph.register_generator_state(self.generator)
            with torch.cuda.graph(graph, stream=self.aside):
                self.recording = graph, inputs, self.work(*inputs)
        graph, inputs, result = self.recording
        for kept, table in zip(inputs, tables, strict=True):
            for name, x in table.items():
                kept[name].copy_(x)
        graph.replay()
        return result
