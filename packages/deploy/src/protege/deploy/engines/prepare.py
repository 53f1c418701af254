"""An exported model made ready for a compiler of engines. Needs onnx and ONNX Runtime."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ..export.precision import with_fixed_batch
from ..policy.metadata import Metadata
from ..policy.session import BATCH


def prepared(model: onnx.ModelProto, metadata: Metadata, batch: int) -> onnx.ModelProto:
    """The same model for a fixed batch, without arithmetic on shapes, and with its tree of bodies as products of matrices.

    Kinematics sum along the robot's tree by gathering each body's ancestor, some rounds in a row. TensorRT's compiler writes all
    rounds into one kernel and computes each ancestor anew for each of its descendants: with this robot's four rounds the engine
    took more than ten gigabytes and never ended. A product with a 0-1 matrix gives the same numbers, and is where kernels end.
    """
    fixed = model if metadata.batch else with_fixed_batch(model, BATCH, batch)
    folded = _folded(fixed)
    weights = {tensor.name: tensor for tensor in folded.graph.initializer}
    shapes = _shapes(folded)
    nodes = []
    for node in folded.graph.node:
        shape, indices = shapes.get(node.input[0] if node.input else "", []), weights.get((*node.input, "", "")[1])
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
        if (
            node.op_type == "Gather"
            and indices is not None
            and len(indices.dims) == 1
            and len(shape) == 3
            and axis == 1
        ):
            selection = np.eye(shape[1], dtype=np.float32)[numpy_helper.to_array(indices)]
            folded.graph.initializer.append(numpy_helper.from_array(selection, f"{node.name}/selection"))
            node = helper.make_node(
                "MatMul", [f"{node.name}/selection", node.input[0]], list(node.output), name=f"{node.name}/product"
            )
        nodes.append(node)
    del folded.graph.node[:]
    folded.graph.node.extend(nodes)
    return folded


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """With constants computed, by ONNX Runtime, and nothing but standard operators."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _shapes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Of the float tensors, as far as they are known."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.input)
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
