"""Small graphs for the surgery's tests, and running them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.records import Float32Array


class Small:
    """One graph of float32 tensors; each method returns the name of what it makes."""

    def __init__(self, opset: int = 13) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.consts: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.random = np.random.default_rng(5)

    def input(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(self, name: str, shape: Sequence[int | str] | None = None, dtype: int = TensorProto.FLOAT) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, None if shape is None else list(shape)))

    def const(self, value: Any, dtype: str = "float32") -> str:
        self.consts.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(self.consts)}"))
        return str(self.consts[-1].name)

    def weight(self, *shape: int) -> str:
        return self.const(self.random.standard_normal(shape) / max(1.0, float(np.prod(shape[1:]))) ** 0.5)

    def node(self, op: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"{op}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"/{name}", **attributes))
        return name

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "small", self.inputs, self.outputs, self.consts)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def run(model: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]) -> list[Float32Array]:
    """All outputs of a model on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [np.asarray(one) for one in session.run(None, dict(feeds))]


def copy(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def ops(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]
