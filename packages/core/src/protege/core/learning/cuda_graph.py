"""Functions of tensors recorded as CUDA graphs: one launch instead of hundreds."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


class Recorded[T]:
    """A function that is recorded as a CUDA graph. It must not synchronise with the device.

    On a GPU the first calls run eagerly, so that lazy initialisation takes place. Then the function is captured: each further call
    copies its arguments into the graph's inputs, replays the graph and returns the same result tensors with new values. On a CPU
    the function is simply called.

    Args:
        work: the function, of tables of tensors whose shapes do not change between calls. It may return any structure of tensors
            and leave gradients in parameters.
        device: of its tensors.
        generator: its source of random numbers, if any.
    """

    EAGER_CALLS = 3

    def __init__(
        self, work: Callable[..., T], device: torch.device | str, generator: torch.Generator | None = None
    ) -> None:
        self.work, self.device, self.generator = work, torch.device(device), generator
        self.capture_stream = torch.cuda.Stream(self.device) if self.device.type == "cuda" else None
        self.calls = 0
        self.recording: tuple[torch.cuda.CUDAGraph, tuple[dict[str, Tensor], ...], T] | None = None

    def __call__(self, *tables: Mapping[str, Tensor]) -> T:
        if self.capture_stream is None:
            return self.work(*tables)
        if self.calls < self.EAGER_CALLS:
            self.calls += 1
            # On the stream of the later capture, because autograd binds gradient accumulation to a stream.
            here = torch.cuda.current_stream(self.device)
            self.capture_stream.wait_stream(here)
            with torch.cuda.stream(self.capture_stream):
                result = self.work(*tables)
            here.wait_stream(self.capture_stream)
            return result
        if self.recording is None:
            inputs = tuple({name: x.clone() for name, x in table.items()} for table in tables)
            graph = torch.cuda.CUDAGraph()
            if self.generator is not None:
                graph.register_generator_state(self.generator)
            with torch.cuda.graph(graph, stream=self.capture_stream):
                self.recording = graph, inputs, self.work(*inputs)
        graph, inputs, result = self.recording
        for graph_input, table in zip(inputs, tables, strict=True):
            for name, x in table.items():
                graph_input[name].copy_(x)
        graph.replay()
        return result
