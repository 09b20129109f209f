"""dlib's face recognition ResNet (.dat) -> ONNX.

The network is the `anet_type` of dlib's dnn_face_recognition example: 7x7/2 convolution to 32, 3x3/2 max pool,
then residual levels of 32 (3 blocks), 64 (1 halving + 3), 128 (1 + 2), 256 (1 + 2), 256 (1), global mean, and a
bias-free linear layer to 128. Each convolution is followed by an affine layer, folded here into its weights.
Convolutions and pools with a stride have no padding in dlib, others have half their kernel. A halving block adds
an average-pooled copy of its input; where shapes differ dlib's add_prev pads the smaller with zeros at the end of
each axis.

The file stores layers from the input outwards: a length-prefixed name, then its parameters as a tensor: integers
(one control byte: bits 0-3 the number of bytes, bit 7 the sign; then the bytes, little-endian), namely a version
of 2 and four dimensions, then raw little-endian float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.errors import ModelError
from core.records import Float32Array

SIDE = 150
EMBEDDING = 128
RGB_MEAN = (122.782, 117.001, 104.298)  # of dlib's input_rgb_image_sized
RGB_SCALE = 1 / 256
TENSOR_VERSION = 2
# (channels, halves) of each residual block, from the input outwards.
BLOCKS = (
    *(((32, False),) * 3),
    *((64, True), (64, False), (64, False), (64, False)),
    *((128, True), (128, False), (128, False)),
    *((256, True), (256, False), (256, False)),
    (256, True),
)


class _Reader:
    """Walks the named layers of a .dat file in order."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def tensor(self, layer: str, count: int, skip_ints: int = 0) -> NDArray[np.float32]:
        """The `count` parameters of the next layer named `layer`, flat."""
        name = bytes([len(layer)]) + layer.encode("ascii")
        found = self._data.find(name, self._at)
        if found < 0:
            raise ModelError(f"not dlib's face recognition network: no {layer} layer after byte {self._at}")
        self._at = found + len(name)
        for _ in range(skip_ints):
            self._integer()
        version = self._integer()
        dims = [self._integer() for _ in range(4)]
        if version != TENSOR_VERSION or int(np.prod(dims)) != count:
            raise ModelError(f"not dlib's face recognition network: {layer} holds {dims}, expected {count} numbers")
        end = self._at + 4 * count
        values = np.frombuffer(self._data[self._at : end], dtype="<f4")
        if len(values) != count:
            raise ModelError(f"the file ends inside the {layer} layer at byte {self._at}")
        self._at = end
        return values

    def _integer(self) -> int:
        control = self._data[self._at]
        size = control & 0x0F
        value = int.from_bytes(self._data[self._at + 1 : self._at + 1 + size], "little")
        self._at += 1 + size
        return -value if control & 0x80 else value


class _Graph:
    """Collects nodes and weights; every method returns the name of the tensor it makes."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{op.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def weight(self, array: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def convolution(self, x: str, channels: tuple[int, int], kernel: int, stride: int) -> str:
        """con_ and its affine_ as one convolution: w * gamma, b * gamma + beta."""
        before, after = channels
        size = after * before * kernel * kernel
        values = self._reader.tensor("con_4", size + after)
        gamma, beta = self._reader.tensor("affine_", 2 * after).reshape(2, after)
        kernels = values[:size].reshape(after, before, kernel, kernel) * gamma[:, None, None, None]
        bias = values[size:] * gamma + beta
        pad = 0 if stride > 1 else kernel // 2
        return self.node(
            "Conv",
            [x, self.weight(kernels), self.weight(bias)],
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def pad_end(self, x: str, channels: int, side: int) -> str:
        """Zeros after the last channel, row and column."""
        if channels == 0 and side == 0:
            return x
        return self.node("Pad", [x, self.weight(np.array([0, 0, 0, 0, 0, channels, side, side], np.int64))])


def _levels(graph: _Graph, x: str, side: int) -> str:
    """All residual blocks; `side` is the height and width of `x`, 32 channels."""
    before = BLOCKS[0][0]
    for channels, halves in BLOCKS:
        stride = 2 if halves else 1
        y = graph.node("Relu", [graph.convolution(x, (before, channels), 3, stride)])
        y = graph.convolution(y, (channels, channels), 3, 1)
        if halves:
            main, skip = (side - 3) // 2 + 1, (side - 2) // 2 + 1
            side = max(main, skip)
            y = graph.pad_end(y, 0, side - main)
            x = graph.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = graph.pad_end(x, channels - before, side - skip)
        x = graph.node("Relu", [graph.node("Add", [y, x])])
        before = channels
    return x


def convert_dlib(data: bytes) -> bytes:
    """The ONNX file: `image` float32 [batch,3,150,150] RGB 0..255 -> `embedding` float32 [batch,128].

    Raises `ModelError` when the layers are not the ones described above.
    """
    try:
        return _convert(_Reader(data))
    except (IndexError, ValueError) as error:
        raise ModelError(f"not dlib's face recognition network: {error}") from error


def _convert(reader: _Reader) -> bytes:
    graph = _Graph(reader)
    mean = np.array(RGB_MEAN, np.float32).reshape(1, 3, 1, 1)
    x = graph.node("Sub", ["image", graph.weight(mean)])
    x = graph.node("Mul", [x, graph.weight(np.array(RGB_SCALE, np.float32))])
    x = graph.node("Relu", [graph.convolution(x, (3, 32), 7, 2)])  # [n,32,72,72]
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])  # [n,32,35,35]
    x = _levels(graph, x, 35)  # [n,256,2,2]
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x])])  # [n,256]
    linear: Float32Array = reader.tensor("fc_2", 256 * EMBEDDING, skip_ints=2).reshape(256, EMBEDDING)
    graph.nodes.append(helper.make_node("MatMul", [x, graph.weight(linear)], ["embedding"]))
    made = helper.make_graph(
        graph.nodes,
        "dlib_face_recognition_resnet_v1",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", EMBEDDING])],
        graph.weights,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString(deterministic=True))
