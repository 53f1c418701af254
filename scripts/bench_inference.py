"""Measures the duration of one call of an exported model; there are no limits to pass.

    python scripts/bench_inference.py                   one CPU thread, whole graph, each precision, and a plain MLP's time
    python scripts/bench_inference.py --device cuda     ONNX Runtime's CUDA provider against torch compiled, batch 1 and 4096

On a GPU inputs and outputs are in its memory, and each call is synchronised. The comparison includes the network and its
kinematics, but no copies.
"""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch

from protege.deploy.export import states
from protege.deploy.export.export import Variant, export, load_graph
from protege.deploy.policy import metadata
from protege.deploy.policy.metadata import PRECISIONS
from protege.deploy.policy.session import open_session

CALLS = 1000
WARM_UP = 100
PERCENTILES = (0, 50, 95, 99)
PLAIN_LAYERS = 3  # hidden layers of a plain MLP
PLAIN_INPUTS = 512

Times = dict[str, float]
"""Percentiles of a call's duration, ms, by name: p0 (the minimum, which other load hardly changes), p50, p95, p99."""


@click.command()
@click.option("--checkpoint", default="zoo:student", show_default=True)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), help="compare with torch compiled, on this device")
@click.option("--batch", "batches", multiple=True, type=int, default=(1, 4096), show_default=True)
@click.option("--calls", default=CALLS, show_default=True)
def main(checkpoint: str, device: str | None, batches: tuple[int, ...], calls: int) -> None:
    """Measure the latency of each precision on a CPU, or compare ONNX Runtime with torch."""
    if device is None:
        latencies, plain = cpu_latencies(checkpoint, calls), plain_latency(weights(checkpoint), calls)
        for precision, times in latencies.items():
            click.echo(f"{precision:<5} {shown(times)}")
        click.echo(f"{'plain':<5} {shown(plain)}: an MLP of as many weights; {compared(latencies['fp32'], plain)}")
        return
    for batch in batches:
        for name, times in against_torch(checkpoint, device, batch, calls).items():
            rate = batch / times["p50"] * 1e3
            click.echo(f"batch {batch:<5} {name:<24} {shown(times)}  {rate:,.0f} robots/s")


def cpu_latencies(checkpoint: str, calls: int = CALLS) -> dict[str, Times]:
    """Latencies by precision: one robot, one thread, calls back to back, on states of closed loops."""
    with TemporaryDirectory() as folder:
        folders = [export(checkpoint, Path(folder) / name, Variant(name)) for name in PRECISIONS]
        sessions = [open_session(path, metadata.load(path), threads=1, batch=1) for path in folders]
        recorded = states.record(folders[0], calls)
    rows = [{name: values[k : k + 1] for name, values in recorded.items()} for k in range(calls)]
    return {
        name: timed(lambda k, session=session: session.run(None, rows[k]), calls)
        for name, session in zip(PRECISIONS, sessions, strict=True)
    }


def weights(checkpoint: str) -> int:
    """Number of the actor's parameters."""
    return load_graph(checkpoint)[0].policy.num_parameters("actor")


def plain_latency(weights: int, calls: int = CALLS) -> Times:
    """Latency of an MLP with about `weights` weights: one robot, one thread, calls back to back.

    It has neither observations nor tokens, so it measures the time of any network of that size in the same process.
    """
    import onnxruntime

    # inputs x width + (layers - 1) width² + width x outputs = weights
    half = PLAIN_INPUTS / (2 * (PLAIN_LAYERS - 1))
    width = round((half**2 + weights / (PLAIN_LAYERS - 1)) ** 0.5 - half)
    layers = [torch.nn.Linear(PLAIN_INPUTS if k == 0 else width, width) for k in range(PLAIN_LAYERS)]
    net = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.ELU())))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "plain.onnx")
        torch.onnx.export(net, (torch.zeros(1, PLAIN_INPUTS),), path, dynamo=False, input_names=["x"])
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    x = np.zeros((1, PLAIN_INPUTS), np.float32)
    return timed(lambda _: session.run(None, {"x": x}), calls)


def compared(times: Times, plain: Times) -> str:
    """The ratios of the minimum and the median durations, as text."""
    return f"the policy takes {times['p0'] / plain['p0']:.1f} times as long at least, {times['p50'] / plain['p50']:.1f} on median"


def against_torch(checkpoint: str, device: str, batch: int, calls: int) -> dict[str, Times]:
    """Latencies of ONNX Runtime and compiled torch on the same states, in one process."""
    _, graph, _ = load_graph(checkpoint)
    with TemporaryDirectory() as folder:
        path = export(checkpoint, Path(folder) / "onnx")
        session = open_session(path, metadata.load(path), provider=device, batch=batch)
        recorded = states.record(path, max(batch, 500))
    inputs = {name: np.ascontiguousarray(values[:batch]) for name, values in recorded.items()}
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    binding = bound(session, inputs, device)
    compiled: Any = torch.compile(graph.to(device), dynamic=False)
    tensors = [torch.from_numpy(inputs[spec.name]).to(device) for spec in graph.specs]

    def torch_call(_: int) -> None:
        with torch.no_grad():
            compiled(*tensors)
        wait()

    def onnx_call(_: int) -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return {f"ONNX Runtime {device}": timed(onnx_call, calls), "torch compiled": timed(torch_call, calls)}


def bound(session: Any, inputs: dict[str, np.ndarray], device: str) -> Any:
    """Inputs in the device's memory, and outputs that stay there."""
    import onnxruntime

    binding = session.io_binding()
    for name, values in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values, device, 0))
    for output in session.get_outputs():
        binding.bind_output(output.name, device, 0)
    return binding


def timed(call: Callable[[int], object], calls: int) -> Times:
    """Percentiles of the durations of `calls` calls, after a warm-up; each call gets its index."""
    for k in range(min(WARM_UP, calls)):
        call(k)
    seconds = np.zeros(calls)
    for k in range(calls):
        begun = time.perf_counter()
        call(k)
        seconds[k] = time.perf_counter() - begun
    return {f"p{q}": float(np.percentile(seconds, q)) * 1e3 for q in PERCENTILES}


def shown(times: Times) -> str:
    """The percentiles as text."""
    return "  ".join(f"{name} {value:.3f}" for name, value in times.items()) + " ms"


if __name__ == "__main__":
    main()
