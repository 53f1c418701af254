"""Smaller numbers inside the network: fp16, or int8 with quantize and dequantize nodes (QDQ). Needs onnx and ONNX Runtime.

Only the network is converted: what lies between the first and the last product with a weight matrix. Kinematics, observations,
normalisers and the default pose stay in float32, as do all inputs and outputs: positions in the world are large numbers.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from ..interface import Array

FLOAT_READOUTS = 2
"""Products before the actions that int8 leaves alone."""
CALIBRATION_BATCH = 100
CALIBRATION_STATES = 2000


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model with half-precision weights and arithmetic in its network.

    The network is cut out, converted and put back: the converter rounds whatever passes between the nodes it is to leave alone.
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
    """The same model with its inner products in int8: weights a scale a column, activations a scale a tensor.

    The products that read observations, and the last two before the actions, stay in float32: for `zoo:student` that makes the
    error four times smaller and the file a third larger, and the time is the same.

    Weights keep 7 bits (`reduce_range`): without VNNI, x86 adds pairs of products in 16 bits, which 8 bits would saturate.

    Args:
        model: in float32.
        states: the model's inputs by name (N, ...), as they occur in closed loops; the ranges of activations are theirs.
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
    """The same model for so many robots a call, where its free dimension was called `name`."""
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed

    fixed = _copy(model)
    make_dim_param_fixed(fixed.graph, name, batch)
    fix_output_shapes(fixed)
    return fixed


def network_nodes(model: onnx.ModelProto) -> tuple[set[str], set[str]]:
    """Names of the nodes of the network, and of those among them that multiply with weights.

    A node belongs to the network if a product with weights comes before it, or is it, and one comes after it, or is it. Matrices
    that turn vectors about are no weights (`is_learned`), nor are the stacked ones of a readout (`TransformerBlock`).
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
    """Whether a node is of a module of the policy, by its name `/module/.../operator`; kinematics is a module of constants."""
    return name.count("/") > 1 and not name.startswith("/kinematics/")


def _inner(model: onnx.ModelProto, products: set[str]) -> list[str]:
    """Of the products with weights those that have another one before them, but for the last two; all if none is left."""
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
    """Up to `CALIBRATION_STATES` states, evenly spaced, some at a time."""
    count = len(next(iter(states.values())))
    chosen = np.linspace(0, count - 1, min(count, CALIBRATION_STATES)).astype(int)
    for rows in np.array_split(chosen, max(1, len(chosen) // CALIBRATION_BATCH)):
        yield {name: values[rows] for name, values in states.items()}


def _replaced(model: onnx.ModelProto, part: onnx.GraphProto, outside: list[onnx.NodeProto]) -> onnx.ModelProto:
    """The model with `part` in place of all nodes but those `outside`."""
    from onnxruntime.transformers.onnx_model import OnnxModel

    needed = {name for node in outside for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    _rename(part, {name: f"{name}_inside" for name in needed})  # weights that both sides read
    new = _copy(model)
    for field, values in (
        ("node", [*outside, *part.node]),
        ("initializer", [*kept, *part.initializer]),
        ("value_info", []),
    ):
        del getattr(new.graph, field)[:]
        getattr(new.graph, field).extend(values)
    sorted_by_use = OnnxModel(new)
    sorted_by_use.topological_sort()
    return sorted_by_use.model


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Give weights other names."""
    for tensor in graph.initializer:
        if tensor.name in names:
            for node in graph.node:
                node.input[:] = [names[name] if name == tensor.name else name for name in node.input]
            tensor.name = names[tensor.name]


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy
