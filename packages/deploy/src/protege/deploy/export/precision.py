"""Lower precision inside the network: fp16, or int8 with quantize and dequantize nodes (QDQ). Needs onnx and ONNX Runtime.

Only the network is converted: the nodes between the first and the last product with a weight matrix. Kinematics, observations,
normalisers and the default pose stay in float32, as do all inputs and outputs, because positions in the world can be large.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..geometry import Array

FLOAT_READOUTS = 2
"""Number of products before the actions that int8 leaves in float32."""
CALIBRATION_BATCH = 100
CALIBRATION_STATES = 2000


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with half-precision weights and arithmetic in its network.

    The network is extracted, converted and put back, because the converter would also round values between the other nodes.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    network, _ = network_nodes(model)
    inside = [node for node in model.graph.node if node.name in network]
    outside = [node for node in model.graph.node if node.name not in network]
    made = {name for node in inside for name in node.output}
    weights = {tensor.name for tensor in model.graph.initializer}
    enters = sorted({name for node in inside for name in node.input if name} - made - weights)
    leaves = sorted(made & ({name for node in outside for name in node.input} | {x.name for x in model.graph.output}))
    whole = onnx.shape_inference.infer_shapes(model)
    converted = convert_float_to_float16(
        onnx.utils.Extractor(whole).extract_model(enters, leaves), keep_io_types=True, disable_shape_infer=True
    )
    return _replaced(model, converted.graph, outside)


def to_int8(model: onnx.ModelProto, states: Mapping[str, Array]) -> onnx.ModelProto:
    """The same model with its inner products in int8: a scale per column of the weights, and a scale per activation tensor.

    The products that read observations, and the last two before the actions, stay in float32. For `zoo:student` the error is then
    four times smaller, the file a third larger, and the time the same.

    Weights have 7 bits (`reduce_range`): without VNNI, x86 adds pairs of products in 16 bits, which would saturate with 8 bits.

    Args:
        model: in float32.
        states: the model's inputs by name (N, ...), from closed loops; they determine the ranges of the activations.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches: Iterator[dict[str, Array]] = iter(_batches(states))

        def get_next(self) -> Any:
            return next(self.batches, None)

    _, products = network_nodes(model)
    with tempfile.TemporaryDirectory() as folder, _silenced_logging():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            _copy(model),
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=_inner(model, products),
        )
        return onnx.load(path)


def with_fixed_batch(model: onnx.ModelProto, name: str, batch: int) -> onnx.ModelProto:
    """The same model for a fixed number of robots per call; `name` is that of its free dimension."""
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed

    fixed = _copy(model)
    make_dim_param_fixed(fixed.graph, name, batch)
    fix_output_shapes(fixed)
    return fixed


def network_nodes(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Names of the network's nodes, and of those among them that multiply with weights.

    A node belongs to the network if it lies between two products with weights or is one. Constant matrices that rotate vectors are
    not weights (`is_learned`), and neither are the stacked matrices of a readout (`TransformerBlock`).
    """
    weights = {tensor.name for tensor in model.graph.initializer if len(tensor.dims) == 2}
    nodes = list(model.graph.node)
    products = {
        n.name
        for n in nodes
        if n.op_type in ("MatMul", "Gemm") and is_learned(n.name) and weights.intersection(n.input)
    }
    after, known = set(), set()
    for node in nodes:
        if node.name in products or known.intersection(node.input):
            after.add(node.name)
            known.update(node.output)
    before, needed = set(), set()
    for node in reversed(nodes):
        if node.name in products or needed.intersection(node.output):
            before.add(node.name)
            needed.update(node.input)
    return after & before, products


def is_learned(name: str) -> bool:
    """Whether a node belongs to a module of the policy, by its name `/module/.../operator`; kinematics has constants only."""
    return name.count("/") > 1 and not name.startswith("/kinematics/")


def _inner(model: onnx.ModelProto, products: set[str]) -> list[str]:
    """The products with weights that follow another one, without the last `FLOAT_READOUTS`; all products if none is left."""
    inner, known = [], set()
    for node in model.graph.node:
        follows = bool(known.intersection(node.input))
        if node.name in products and follows:
            inner.append(node.name)
        if node.name in products or follows:
            known.update(node.output)
    return inner[:-FLOAT_READOUTS] or sorted(products)


@contextmanager
def _silenced_logging() -> Iterator[None]:
    """The quantizer advises pre-processing, and divides by the empty ranges of tensors that it then leaves alone."""
    logging.disable(logging.WARNING)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _batches(states: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Up to `CALIBRATION_STATES` states, evenly spaced, in batches."""
    count = len(next(iter(states.values())))
    chosen = np.linspace(0, count - 1, min(count, CALIBRATION_STATES)).astype(int)
    for rows in np.array_split(chosen, max(1, len(chosen) // CALIBRATION_BATCH)):
        yield {name: values[rows] for name, values in states.items()}


def _replaced(model: onnx.ModelProto, part: onnx.GraphProto, outside: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The model with `part` in place of all nodes but those `outside`."""
    from onnxruntime.transformers.onnx_model import OnnxModel

    needed = {name for node in outside for name in node.input}
    outside_weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    _rename(part, {name: f"{name}_inside" for name in needed})  # weights that both sides read
    new = _copy(model)
    for field, values in (
        ("node", [*outside, *part.node]),
        ("initializer", [*outside_weights, *part.initializer]),
        ("value_info", []),
    ):
        del getattr(new.graph, field)[:]
        getattr(new.graph, field).extend(values)
    sorted_by_use = OnnxModel(new)
    sorted_by_use.topological_sort()
    return sorted_by_use.model


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename weights."""
    for tensor in graph.initializer:
        if tensor.name in names:
            for node in graph.node:
                node.input[:] = [names[name] if name == tensor.name else name for name in node.input]
            tensor.name = names[tensor.name]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
