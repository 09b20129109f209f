"""A model's outputs in float64: what every provider and precision is measured against.

ONNX's own reference evaluator runs the graph operator by operator in NumPy; weights and inputs are widened first. It
is slow, so it is for twins of small width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from core.geometry import Float64Array
from core.inference.onnxfile import parse_onnx

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


class BatchNormalization(OpRun):
    """Inference's, from the running moments; the evaluator's own takes the batch's moments before operator set 14."""

    op_domain = ""

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        bias: NDArray[Any],
        mean: NDArray[Any],
        variance: NDArray[Any],
        epsilon: float = 1e-5,
        **_unused: Any,
    ) -> tuple[NDArray[Any]]:
        form = (-1, *([1] * (x.ndim - 2)))
        factor = scale / np.sqrt(variance + epsilon)
        return (x * factor.reshape(form) + (bias - mean * factor).reshape(form),)


def exact_outputs(file: Path, feeds: Mapping[str, NDArray[Any]], names: Sequence[str]) -> list[Float64Array]:
    """The outputs called `names`, computed in float64 from the weights in `file` and the given inputs.

    Raises `ModelError` for a file that is no model.
    """
    model = widened(parse_onnx(file.read_bytes()))
    given = {name: np.asarray(feed, np.float64) for name, feed in feeds.items()}
    return [
        np.asarray(output, np.float64)
        for output in ReferenceEvaluator(model, new_ops=[BatchNormalization]).run(list(names), given)
    ]


def widened(model: ModelProto) -> ModelProto:
    """The model with all floats, stated or in weights, in double precision; the argument is changed.

    Resize keeps its scales in float32, which its definition demands.
    """
    graph = model.graph
    scales = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:3]}
    for tensor in graph.initializer:
        if tensor.name not in scales:
            _widen(tensor)
    for node in graph.node:
        keep = node.op_type == "Constant" and node.output[0] in scales
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and not keep:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i in FLOATS:
                attribute.i = TensorProto.DOUBLE
    del graph.value_info[:]
    for value in [*graph.input, *graph.output]:
        if value.type.tensor_type.elem_type in FLOATS:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in FLOATS:
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), name))
