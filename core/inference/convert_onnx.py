"""CenterFace as published -> ONNX with free batch, height and width.

The published graph states [10,3,32,32] and lists its 194 weights among the graph inputs, which stops constant
folding. Only declarations change; nodes and weights stay as they are.
"""

from __future__ import annotations

from core.errors import ModelError
from core.inference.onnxfile import parse_onnx

STRIDE = 4  # cells of the output maps are 4 px apart


def convert_centerface(data: bytes) -> bytes:
    """`data` with dynamic dimensions, weights no longer graph inputs, and stale shapes of inner tensors dropped."""
    model = parse_onnx(data)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    real = [value for value in graph.input if value.name not in weights]
    if len(real) != 1 or not graph.node:
        raise ModelError(f"not the CenterFace graph: {len(real)} inputs, {len(graph.node)} nodes")
    del graph.input[:]
    graph.input.extend(real)
    del graph.value_info[:]
    for value, divide in [(graph.input[0], ""), *((output, f"/{STRIDE}") for output in graph.output)]:
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param, dims[2].dim_param, dims[3].dim_param = "batch", f"height{divide}", f"width{divide}"
    return bytes(model.SerializeToString(deterministic=True))
