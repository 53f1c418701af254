"""Compiles a policy ahead of time with torch-tensorrt, for torch programs on an NVIDIA GPU. Needs torch and core.

The runtime uses `--provider tensorrt` instead: ONNX Runtime compiles `policy.onnx` itself and caches the result.
"""

from pathlib import Path

import torch
from torch.export import ExportedProgram

from ..errors import DeployError, needs
from .export import example, load_graph
from .graph import StudentGraph

KEPT_IN_TORCH = {torch.ops.aten.index.Tensor}
"""The gathers of the kinematics, see `session.NOT_COMPILED`."""


def build(checkpoint: str | Path, output: str | Path, batch: int = 1) -> Path:
    """Compile a policy and write it as an exported program, which `torch_tensorrt.load` reads.

    Args:
        checkpoint: run folder, checkpoint or release.
        output: the file.
        batch: robots per call.

    Raises:
        DeployError: the checkpoint does not exist, torch-tensorrt is not installed, or there is no GPU.
    """
    graph = load_graph(checkpoint)[1]
    with needs("tensorrt"):
        import torch_tensorrt  # pyright: ignore[reportMissingImports]
    if not torch.cuda.is_available():
        raise DeployError("torch-tensorrt needs the GPU that the program is for, and torch sees none", "Build it there")
    program, inputs = exported_program(graph.cuda(), batch)
    # TF32 has 10 bits: enough for the network, not for positions in the world.
    compiled = torch_tensorrt.dynamo.compile(
        program, arg_inputs=inputs, disable_tf32=True, torch_executed_ops=KEPT_IN_TORCH
    )
    torch_tensorrt.save(compiled, str(output), arg_inputs=inputs)
    return Path(output)


def exported_program(graph: StudentGraph, batch: int) -> tuple[ExportedProgram, tuple[torch.Tensor, ...]]:
    """The graph as an exported program for `batch` robots per call, and the inputs (batch, ...) that it was traced with."""
    inputs = tuple(example(spec, batch).to(graph.default_joint_pos.device) for spec in graph.specs)
    return torch.export.export(graph, inputs), inputs
