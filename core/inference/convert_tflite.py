"""A float32 TFLite graph -> ONNX with a free batch, for the operators that MediaPipe's face models use.

The flatbuffer is read here directly (format: flatbuffers' internals page; tables and field numbers: TensorFlow
Lite's schema.fbs, version 3), so that no TensorFlow is needed. Activations become NCHW inside, which is ONNX's
order; the graph's input stays [batch, height, width, channels] as published.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.errors import ModelError

# BuiltinOperator numbers of schema.fbs.
ADD, CONV_2D, DEPTHWISE_CONV_2D, MAX_POOL_2D, PAD, PRELU = 0, 3, 4, 17, 34, 54
TENSOR_TYPES = {0: "<f4", 2: "<i4"}  # TensorType: FLOAT32, INT32
SAME = 0  # Padding


class _Table:
    """One flatbuffer table: a 32-bit signed distance back to its vtable of 16-bit field offsets, then the fields."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at
        self._vtable = at - struct.unpack_from("<i", data, at)[0]
        self._fields = struct.unpack_from("<H", data, self._vtable)[0]

    def scalar(self, field: int, form: str, default: int = 0) -> int:
        at = self._field(field)
        return default if at is None else int(struct.unpack_from("<" + form, self._data, at)[0])

    def table(self, field: int) -> _Table | None:
        at = self._target(field)
        return None if at is None else _Table(self._data, at)

    def tables(self, field: int) -> list[_Table]:
        start, count = self._vector(field)
        places = (start + 4 * item for item in range(count))
        return [_Table(self._data, at + struct.unpack_from("<I", self._data, at)[0]) for at in places]

    def integers(self, field: int) -> list[int]:
        start, count = self._vector(field)
        return list(struct.unpack_from(f"<{count}i", self._data, start))

    def raw(self, field: int) -> bytes:
        start, count = self._vector(field)
        return self._data[start : start + count]

    def _field(self, field: int) -> int | None:
        slot = 4 + 2 * field
        offset = struct.unpack_from("<H", self._data, self._vtable + slot)[0] if slot < self._fields else 0
        return self._at + offset if offset else None

    def _target(self, field: int) -> int | None:
        at = self._field(field)
        return None if at is None else at + int(struct.unpack_from("<I", self._data, at)[0])

    def _vector(self, field: int) -> tuple[int, int]:
        at = self._target(field)
        return (0, 0) if at is None else (at + 4, int(struct.unpack_from("<I", self._data, at)[0]))


class _Converter:
    """Walks the one subgraph; `names` maps tensor numbers to ONNX names of NCHW activations."""

    def __init__(self, data: bytes) -> None:
        model = _Table(data, struct.unpack_from("<I", data, 0)[0])
        graphs = model.tables(2)
        if data[4:8] != b"TFL3" or len(graphs) != 1:
            raise ModelError("not a TFLite file with one graph")
        self._codes = [max(code.scalar(0, "b"), code.scalar(3, "i")) for code in model.tables(1)]
        self._graph, self._buffers = graphs[0], model.tables(4)
        self._tensors = self._graph.tables(0)
        self.inputs, self.outputs = self._graph.integers(1), self._graph.integers(2)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.names: dict[int, str] = {}

    def shape(self, tensor: int) -> list[int]:
        return self._tensors[tensor].integers(0)

    def constant(self, tensor: int) -> NDArray[Any]:
        table = self._tensors[tensor]
        kind = table.scalar(1, "b")
        if kind not in TENSOR_TYPES:
            raise ModelError(f"TFLite tensor {tensor} has the unsupported type {kind}")
        raw = self._buffers[table.scalar(2, "I")].raw(0)
        return np.frombuffer(raw, TENSOR_TYPES[kind]).reshape(self.shape(tensor))

    def weight(self, array: NDArray[Any]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def run(self) -> None:
        """Convert every operator; `ModelError` names the first one without a rule."""
        rules: dict[int, Callable[[list[int], _Table | None], str]] = {
            ADD: self._add,
            CONV_2D: self._conv,
            DEPTHWISE_CONV_2D: self._depthwise,
            MAX_POOL_2D: self._max_pool,
            PAD: self._pad,
            PRELU: self._prelu,
        }
        for number, operator in enumerate(self._graph.tables(3)):
            code = self._codes[operator.scalar(0, "I")]
            if code not in rules:
                raise ModelError(f"TFLite operator {number} has the unsupported code {code}")
            self.names[operator.integers(2)[0]] = rules[code](operator.integers(1), operator.table(4))

    def _add(self, inputs: list[int], options: _Table | None) -> str:
        _refuse_activation(options, 0)
        return self.node("Add", [self.names[inputs[0]], self.names[inputs[1]]])

    def _prelu(self, inputs: list[int], _options: _Table | None) -> str:
        slope = self.constant(inputs[1]).reshape(-1, 1, 1)  # [1,1,C] -> [C,1,1]
        return self.node("PRelu", [self.names[inputs[0]], self.weight(slope)])

    def _pad(self, inputs: list[int], _options: _Table | None) -> str:
        pads = self.constant(inputs[1])[[0, 3, 1, 2]]  # rows N,H,W,C of (before, after) -> N,C,H,W
        return self.node("Pad", [self.names[inputs[0]], self.weight(pads.T.reshape(-1).astype(np.int64))])

    def _conv(self, inputs: list[int], options: _Table | None) -> str:
        _refuse_activation(options, 3)
        kernels = self.constant(inputs[1]).transpose(0, 3, 1, 2)  # OHWI -> OIHW
        return self._convolution(inputs, kernels, self._window(inputs[0], kernels.shape[2:], options), 1)

    def _depthwise(self, inputs: list[int], options: _Table | None) -> str:
        _refuse_activation(options, 4)
        kernels = self.constant(inputs[1]).transpose(3, 0, 1, 2)  # 1HWC -> C1HW
        window = self._window(inputs[0], kernels.shape[2:], options)
        return self._convolution(inputs, kernels, window, kernels.shape[0])

    def _convolution(self, inputs: list[int], kernels: NDArray[Any], window: dict[str, list[int]], group: int) -> str:
        weights = [self.weight(kernels), self.weight(self.constant(inputs[2]))]
        return self.node("Conv", [self.names[inputs[0]], *weights], group=group, **window)

    def _max_pool(self, inputs: list[int], options: _Table | None) -> str:
        _refuse_activation(options, 5)
        kernel = (0, 0) if options is None else (options.scalar(4, "i"), options.scalar(3, "i"))
        return self.node("MaxPool", [self.names[inputs[0]]], **self._window(inputs[0], kernel, options))

    def _window(self, tensor: int, kernel: tuple[int, ...], options: _Table | None) -> dict[str, list[int]]:
        """ONNX attributes of a sliding window; SAME puts the odd pixel of padding at the end, as TensorFlow does."""
        if options is None:
            raise ModelError("a TFLite operator has no options")
        strides = [options.scalar(2, "i", 1), options.scalar(1, "i", 1)]  # the schema stores width first
        pads = [0, 0, 0, 0]
        if options.scalar(0, "b") == SAME:
            for axis, (size, span, step) in enumerate(zip(self.shape(tensor)[1:3], kernel, strides, strict=True)):
                total = max((-(-size // step) - 1) * step + span - size, 0)
                pads[axis], pads[axis + 2] = total // 2, total - total // 2
        return {"kernel_shape": list(kernel), "strides": strides, "pads": pads}


def _refuse_activation(options: _Table | None, field: int) -> None:
    """Fused activations do not occur in the files we convert; a silent loss of one would be a wrong model."""
    if options is not None and options.scalar(field, "b") != 0:
        raise ModelError("a TFLite operator has a fused activation, which is not converted")


def convert_face_landmark(data: bytes) -> bytes:
    """The ONNX file: `image` [batch,192,192,3] RGB 0..1 -> `mesh` [batch,468,3], `presence` [batch,1]; float32.

    Raises `ModelError` when the file is no TFLite graph of the known operators with these outputs.
    """
    try:
        graph = _Converter(data)
        height, width, channels = graph.shape(graph.inputs[0])[1:]
        graph.names[graph.inputs[0]] = graph.node("Transpose", ["image"], perm=[0, 3, 1, 2])
        graph.run()
        by_size = {int(np.prod(graph.shape(output))): graph.names[output] for output in graph.outputs}
        mesh, presence = by_size[468 * 3], by_size[1]
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise ModelError(f"not the face landmark graph: {type(error).__name__} {error}") from error
    for name, source, shape in (("mesh", mesh, [0, 468, 3]), ("presence", presence, [0, 1])):
        target = graph.weight(np.array(shape, np.int64))
        graph.nodes.append(helper.make_node("Reshape", [source, target], [name]))
    made = helper.make_graph(
        graph.nodes,
        "face_landmark",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", height, width, channels])],
        [
            helper.make_tensor_value_info("mesh", TensorProto.FLOAT, ["batch", 468, 3]),
            helper.make_tensor_value_info("presence", TensorProto.FLOAT, ["batch", 1]),
        ],
        graph.weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))
