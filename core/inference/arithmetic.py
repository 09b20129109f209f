"""How much arithmetic a network is: multiply-adds of its convolutions and matrix products for one item."""

from __future__ import annotations

from math import prod

import onnx
from onnx import shape_inference

from core.inference.onnxfile import parse_onnx

COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def multiply_adds(data: bytes, items: int = 1) -> int:
    """Multiply-adds of one call of the ONNX file `data` with `items` items; other operators are not counted.

    Free dimensions are taken as `items` where they come first. Operators whose shapes cannot be inferred count nothing:
    give a file whose constants are folded (core.inference.variants).
    """
    model = parse_onnx(data)
    graph = model.graph
    for value in graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = items
    model = shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    return sum(_of_node(node, shapes) for node in graph.node if node.op_type in COUNTED)


def _of_node(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """Output samples times the inner products' length; 0 where a shape is not known."""
    first, second, out = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    if node.op_type == "Conv":
        return prod(out) * prod(second[1:]) if out and second else 0
    if node.op_type == "ConvTranspose":
        return prod(first) * prod(second[1:]) if first and second else 0
    return prod(out) * first[-1] if out and first else 0
