"""Makes a CPU compute an fp16 graph with a GPU's roundings.

ONNX Runtime has few fp16 kernels for CPUs: it converts around the others, and where two of these follow each other it drops the
conversions between them. So a result that a GPU rounds to fp16, or that leaves its range there, would stay fp32 in between.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

_KEEP = "rounding/keep"
# The operators of our graphs that CPUs compute in fp32.
_CONVERTED = {"Add", "Gemm", "MatMul", "Mul", "QuickGelu", "Split"}


def is_half(model: onnx.ModelProto) -> bool:
    """Whether keys and values, and so all that is multiplied, are fp16."""
    return any(value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16 for value in model.graph.input)


def round_results(model: onnx.ModelProto) -> None:
    """Puts a Reshape to the same shape, which CPUs do in fp16, behind every result that they compute in fp32."""
    graph, nodes = model.graph, []
    graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.int64), _KEEP))  # 0: as it was
    for node in graph.node:
        nodes.append(node)
        if node.op_type not in _CONVERTED:
            continue
        for index, name in enumerate(node.output):
            node.output[index] = f"{name}/unrounded"
            nodes.append(helper.make_node("Reshape", [node.output[index], _KEEP], [name], name=f"{name}/rounded"))
    del graph.node[:]
    graph.node.extend(nodes)


def load_graph(graph: Path) -> onnx.ModelProto:
    """Without the weights, which stay in their file."""
    return onnx.load(graph, load_external_data=False)
