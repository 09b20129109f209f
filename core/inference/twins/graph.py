"""Writes ONNX graphs as PyTorch's exporter does, with seeded random weights.

Weights never enter a protobuf message: onnx and protobuf would copy a network of 554 MB three times. They are encoded
one by one and joined to the message of everything else. They are uniform and their sums are made in double precision,
so that their bits are the same on every machine.

A channel that is *carried* passes its input on unchanged through convolutions, so that a twin's output shows a
low-pass copy of its input.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from core.errors import ModelError

RELU_GAIN = math.sqrt(2)
LEAKY_GAIN = math.sqrt(2 / (1 + 0.2**2))  # of LeakyReLU with slope 0.2: He et al. 2015, equation 14
# Field numbers of onnx.proto.
MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_RAW_DATA = 7, 5, 9
MAX_BYTES = 2_000_000_000  # a protobuf message stays below 2 GiB


@dataclass(frozen=True)
class Carry:
    """Which channels pass through a convolution: `count` from input `start` on, to output `to` on.

    An output is `weight` x the mean of the samples it stands for, plus `bias`; weight 0 leaves the bias alone. `mixed`
    (modulated convolutions only): what the other channels make is added.
    """

    count: int = 0
    start: int = 0
    to: int = 0
    weight: float = 1.0
    bias: float = 0.0
    mixed: bool = False


NOTHING = Carry()
COLOURS = Carry(3)
LIFTED = Carry(3, bias=1.0)  # -1..1 becomes 0..2, which ReLU lets pass


class Graph:
    """One growing graph. Every method that adds a node returns the name of the tensor it makes."""

    def __init__(self, name: str, seed: int, *, opset: int = 11, ir_version: int = 6, half: bool = False) -> None:
        """`half`: weights and constants of real numbers are float16, inputs and outputs float32 behind casts."""
        self.random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
        self.model = onnx.ModelProto(ir_version=ir_version, producer_name="pytorch")
        self.model.opset_import.append(helper.make_opsetid("", opset))
        self.graph = onnx.GraphProto(name=f"twin of {name}")
        self.opset = opset
        self.half = half
        self._weights: list[bytes | memoryview] = []  # encoded, so that a large network lies in memory once
        self._count = 0
        self._bytes = 0

    # Tensors

    def input(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> str:
        self.graph.input.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return self.node("Cast", [name], to=TensorProto.FLOAT16) if self.half else name

    def output(self, x: str, name: str, shape: Sequence[int | str]) -> None:
        """Declare the tensor `x` as the graph's output `name`."""
        x = self.node("Cast", [x], to=TensorProto.FLOAT) if self.half else x
        for node in self.graph.node:
            for values in (node.input, node.output):
                for at, value in enumerate(values):
                    if value == x:
                        values[at] = name
        self.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def shape(self, x: str, shape: Sequence[int]) -> str:
        """Note the shape of an inner tensor in the file, as files do that went through a shape inference."""
        kind = TensorProto.FLOAT16 if self.half else TensorProto.FLOAT
        self.graph.value_info.append(helper.make_tensor_value_info(x, kind, list(shape)))
        return x

    def weight(self, array: NDArray[Any], name: str | None = None) -> str:
        """An initializer; `ModelError` when the file would pass protobuf's limit."""
        if self.half and array.dtype == np.float32:
            array = array.astype(np.float16)
        self._bytes += array.nbytes
        if self._bytes > MAX_BYTES:
            raise ModelError(f"{self.graph.name} is larger than 2 GB", hint="use a larger width divisor")
        name = name or f"w{self._count}"
        self._count += 1
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        head = onnx.TensorProto(name=name, dims=array.shape, data_type=kind).SerializeToString(deterministic=True)
        head += _field(TENSOR_RAW_DATA, array.nbytes)
        self._weights.append(_field(GRAPH_INITIALIZER, len(head) + array.nbytes) + head)
        self._weights.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return name

    def constant(self, value: Any, dtype: str = "int64") -> str:
        """A Constant node, as PyTorch writes shapes, axes and scalars."""
        array = np.asarray(value, "float16" if self.half and dtype == "float32" else dtype)
        tensor = numpy_helper.from_array(array)
        return self.node("Constant", [], value=tensor)

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.nodes(op, inputs, 1, **attributes)[0]

    def nodes(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs."""
        at = len(self.graph.node)
        names = [f"{op}_{at}_{number}" if outputs > 1 else f"{op}_{at}" for number in range(outputs)]
        self.graph.node.append(helper.make_node(op, list(inputs), names, name=f"/{op}_{at}", **attributes))
        return names

    def uniform(self, shape: Sequence[int], std: float) -> NDArray[np.float32]:
        """Random numbers around 0 with this standard deviation."""
        values = self.random.random(tuple(shape), np.float32)
        values -= np.float32(0.5)
        values *= np.float32(std * math.sqrt(12))
        return values

    # Layers

    def conv(
        self,
        x: str,
        channels: tuple[int, int],
        kernel: int,
        *,
        stride: int = 1,
        pad: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        gain: float = RELU_GAIN,
        bias: NDArray[Any] | float | None = 0.0,
        carry: Carry = NOTHING,
        centred: bool = False,
    ) -> str:
        """A convolution whose outputs have `gain` x the inputs' deviation; `bias` None: none.

        `centred`: every kernel's sum is 0, so that what is the same everywhere gives the bias.
        """
        before, after = channels
        size = before // groups
        kernels = self.uniform((after, size, kernel, kernel), gain / math.sqrt(size * kernel**2))
        if centred:
            kernels -= kernels.mean((2, 3), np.float64, keepdims=True)
        # The mean of the samples that one output stands for, so that nothing moves.
        low = (kernel - 1) // 2 if stride == 2 and kernel % 2 == 0 else kernel // 2
        taps = slice(low, low + (2 if stride == 2 and kernel > 1 else 1))
        share = (taps.stop - taps.start) ** 2
        for colour in range(carry.count):
            kernels[carry.to + colour] = 0
            if carry.weight:
                kernels[carry.to + colour, (carry.start + colour) if groups == 1 else 0, taps, taps] = (
                    carry.weight / share
                )
        inputs = [x, self.weight(kernels)]
        if bias is not None:
            values = np.array(np.broadcast_to(np.asarray(bias, np.float32), (after,)))
            values[carry.to : carry.to + carry.count] = carry.bias
            inputs.append(self.weight(values))
        return self.node(
            "Conv",
            inputs,
            dilations=[dilation] * 2,
            group=groups,
            kernel_shape=[kernel] * 2,
            pads=[dilation * (kernel // 2) if pad is None else pad] * 4,
            strides=[stride] * 2,
        )

    def picture(
        self,
        x: str,
        channels: int,
        kernel: int,
        *,
        gain: float,
        bias: float,
        pad: int | None = None,
        start: int = 0,
        noise: float = 0.25,
    ) -> str:
        """The convolution to three colours: `gain` x the carried channels from `start` on, plus `bias`, plus what the
        other channels make, about `noise` strong and without a tint of its own."""
        kernels = self.uniform((3, channels, kernel, kernel), noise / math.sqrt(channels * kernel**2))
        if kernel > 1:
            kernels -= kernels.mean((2, 3), np.float64, keepdims=True)
        kernels[:, start : start + 3] = 0
        for colour in range(3):
            kernels[colour, start + colour, kernel // 2, kernel // 2] = gain
        values = np.full(3, bias, np.float32)
        return self.node(
            "Conv",
            [x, self.weight(kernels), self.weight(values)],
            dilations=[1, 1],
            group=1,
            kernel_shape=[kernel] * 2,
            pads=[kernel // 2 if pad is None else pad] * 4,
            strides=[1, 1],
        )

    def conv_transpose(self, x: str, channels: tuple[int, int], kernel: int = 4, *, gain: float = RELU_GAIN) -> str:
        """A transposed convolution with stride 2 that doubles the sides; kernel of 2, 3 or 4."""
        before, after = channels
        kernels = self.uniform((before, after, kernel, kernel), gain / math.sqrt(before * kernel**2 / 4))
        return self.node(
            "ConvTranspose",
            [x, self.weight(kernels), self.weight(np.zeros(after, np.float32))],
            dilations=[1, 1],
            group=1,
            kernel_shape=[kernel] * 2,
            pads=[(kernel - 2) // 2] * 2 + [(kernel - 1) // 2] * 2,
            strides=[2, 2],
        )

    def batch_norm(self, x: str, channels: int, *, scale: float = 1.0, epsilon: float = 1e-5) -> str:
        """An inference BatchNormalization with statistics near 0 and 1."""
        gamma = self.uniform((channels,), 0.1 * scale) + np.float32(scale)
        values = [gamma, self.uniform((channels,), 0.1 * scale), self.uniform((channels,), 0.1)]
        values.append(self.uniform((channels,), 0.1) + np.float32(1))
        return self.node(
            "BatchNormalization", [x, *(self.weight(value) for value in values)], epsilon=epsilon, momentum=0.9
        )

    def linear(self, x: str, sizes: tuple[int, int], *, std: float, bias: NDArray[Any] | float = 0.0) -> str:
        """A Linear layer as Gemm with a transposed weight; `std` is of the weights."""
        before, after = sizes
        weights = self.weight(self.uniform((after, before), std))
        values = self.weight(np.array(np.broadcast_to(np.asarray(bias, np.float32), (after,))))
        return self.node("Gemm", [x, weights, values], alpha=1.0, beta=1.0, transB=1)

    def leaky(self, x: str, slope: float = 0.2) -> str:
        return self.node("LeakyRelu", [x], alpha=slope)

    def prelu(self, x: str, channels: int) -> str:
        return self.node("PRelu", [x, self.weight(np.full((channels, 1, 1), 0.25, np.float32))])

    def split(self, x: str, sizes: Sequence[int], axis: int) -> list[str]:
        if self.opset >= 13:
            return self.nodes("Split", [x, self.constant(list(sizes))], len(sizes), axis=axis)
        return self.nodes("Split", [x], len(sizes), axis=axis, split=list(sizes))

    def slice(self, x: str, start: int, end: int, axis: int, step: int = 1) -> str:
        return self.node("Slice", [x, *(self.constant([value]) for value in (start, end, axis, step))])

    def unsqueeze(self, x: str, axis: int) -> str:
        if self.opset >= 13:
            return self.node("Unsqueeze", [x, self.constant([axis])])
        return self.node("Unsqueeze", [x], axes=[axis])

    def mean(self, x: str, axes: Sequence[int] = (2, 3)) -> str:
        if self.opset >= 18:
            return self.node("ReduceMean", [x, self.constant(list(axes))], keepdims=1)
        return self.node("ReduceMean", [x], axes=list(axes), keepdims=1)

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        return self.node("Reshape", [x, self.constant(list(shape))])

    def scalar(self, op: str, x: str, value: float) -> str:
        """`x` op a scalar constant."""
        return self.node(op, [x, self.constant(value, "float32")])

    def _scales(self, values: list[float]) -> str:
        """A float32 constant, whatever the weights are."""
        return self.node("Constant", [], value=numpy_helper.from_array(np.array(values, np.float32)))

    def resize(self, x: str, factor: float, mode: str = "linear", *, align_corners: bool = False) -> str:
        """Interpolation by a constant factor, half-pixel centres (nearest: floor, asymmetric)."""
        scales = self._scales([1, 1, factor, factor])
        rule = "pytorch_half_pixel" if mode == "linear" else "asymmetric"
        return self.node(
            "Resize",
            [x, "" if self.opset >= 13 else self._scales([]), scales],
            coordinate_transformation_mode="align_corners" if align_corners else rule,
            cubic_coeff_a=-0.75,
            mode=mode,
            nearest_mode="floor",
        )

    def resize_like(self, x: str, like: str, mode: str = "nearest") -> str:
        """Interpolation to the height and width of another tensor, through Shape, Slice, Concat, as exported."""
        size = self.slice(self.node("Shape", [like]), 2, 4, 0)
        head = self.slice(self.node("Shape", [x]), 0, 2, 0)
        sizes = self.node("Concat", [head, size], axis=0)
        rule = "pytorch_half_pixel" if mode == "linear" else "asymmetric"
        empty = "" if self.opset >= 13 else self._scales([])
        return self.node(
            "Resize",
            [x, empty, empty, sizes],
            coordinate_transformation_mode=rule,
            cubic_coeff_a=-0.75,
            mode=mode,
            nearest_mode="floor",
        )

    def reflect_pad(self, x: str, size: int) -> str:
        """Reflecting Pad of both sides of both axes; its vector is computed from constants, as PyTorch exports it."""
        pads = self.constant([size] * 4)
        missing = self.node("Sub", [self.constant([8]), self.node("Shape", [pads])])
        zeros = self.node("ConstantOfShape", [missing], value=helper.make_tensor("", TensorProto.INT64, [1], [0]))
        both = self.node("Concat", [pads, zeros], axis=0)
        pairs = self.slice(self.reshape(both, (-1, 2)), -1, -(2**63) + 1, 0, -1)
        flat = self.reshape(self.node("Transpose", [pairs], perm=[1, 0]), (-1,))
        return self.node("Pad", [x, self.node("Cast", [flat], to=TensorProto.INT64)], mode="reflect")

    def serialise(self) -> bytes:
        """The file: the model's fields, then the graph with its weights in the order they were made."""
        head = self.model.SerializeToString(deterministic=True)
        graph = self.graph.SerializeToString(deterministic=True)
        size = len(graph) + sum(len(part) for part in self._weights)
        return b"".join([head, _field(MODEL_GRAPH, size), graph, *self._weights])


def _field(number: int, size: int) -> bytes:
    """The head of a length-delimited protobuf field: number and wire type, then the length, as varints."""
    made = bytearray()
    for value in (number << 3 | 2, size):
        rest = value
        while rest > 0x7F:
            made.append(rest & 0x7F | 0x80)
            rest >>= 7
        made.append(rest)
    return bytes(made)
