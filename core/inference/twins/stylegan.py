"""StyleGAN2's modulated convolution (Karras et al. 2020) in the two forms that exporters see, and what goes with it.

Both fold the batch into the channels: weights [1,out,in,k,k] are multiplied by a style of each item, and the
convolution is a grouped one over [1, batch x in, h, w]. Exported at batch 1 the numbers of groups and of channels
are constants of the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.inference.twins.graph import NOTHING, Carry, Graph

STYLE = 512
EPSILON = 1e-8
BLUR = (1.0, 3.0, 3.0, 1.0)  # of both resampling directions


@dataclass(frozen=True)
class Map:
    """A tensor [1, channels, side, side]."""

    name: str
    channels: int
    side: int


def modulated(
    graph: Graph,
    x: Map,
    style: str,
    channels: int,
    kernel: int,
    *,
    demodulate: bool = True,
    gain: float = 1.0,
    transposed: bool = False,
    carry: Carry = NOTHING,
) -> Map:
    """A convolution whose weights are scaled by a linear layer of the style, and by their norm unless told not to.

    `transposed`: stride 2 upwards without padding, as rosinality's layout has it (its blur follows). The style of the
    carried inputs is 1 for every face.
    """
    before, side = x.channels, x.side
    plain = np.ones(before, np.float32)
    weights = graph.uniform((before, STYLE), 0.5 / math.sqrt(STYLE))
    weights[carry.start : carry.start + carry.count] = 0
    scale = graph.node("Gemm", [style, graph.weight(weights), graph.weight(plain)], alpha=1.0, beta=1.0, transB=1)
    scale = graph.reshape(scale, (1, 1, before, 1, 1))

    kernels = graph.uniform((1, channels, before, kernel, kernel), gain / math.sqrt(before * kernel**2))
    for colour in range(carry.count):
        kernels[0, carry.to + colour, slice(carry.start, carry.start + carry.count) if carry.mixed else slice(None)] = 0
        kernels[0, carry.to + colour, carry.start + colour, kernel // 2, kernel // 2] = carry.weight
    kernel_name = graph.node("Mul", [graph.weight(kernels), scale])
    if demodulate:
        square = graph.node("Pow", [kernel_name, graph.constant(2.0, "float32")])
        total = graph.node("ReduceSum", [square], axes=[2, 3, 4], keepdims=0)
        norm = graph.node("Reciprocal", [graph.node("Sqrt", [graph.scalar("Add", total, EPSILON)])])
        kernel_name = graph.node("Mul", [kernel_name, graph.reshape(norm, (1, channels, 1, 1, 1))])
    flat = graph.reshape(x.name, (1, before, side, side))
    if transposed:
        turned = graph.node("Transpose", [kernel_name], perm=[0, 2, 1, 3, 4])
        turned = graph.reshape(turned, (before, channels, kernel, kernel))
        y = graph.node("ConvTranspose", [flat, turned], group=1, kernel_shape=[kernel] * 2, strides=[2, 2])
        side = 2 * side + kernel - 2
    else:
        kernel_name = graph.reshape(kernel_name, (channels, before, kernel, kernel))
        y = graph.node("Conv", [flat, kernel_name], group=1, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
    return Map(graph.reshape(y, (1, channels, side, side)), channels, side)


def blurred(graph: Graph, x: Map, pads: tuple[int, int], *, up: int = 1) -> Map:
    """A blur as upfirdn2d exports it: every channel becomes an item, gets zeros between its samples (`up` 2) and
    around, is filtered and turned back; the mean stays."""
    side = x.side * up
    if up > 1:
        y = graph.reshape(x.name, (-1, x.side, 1, x.side, 1, 1))
        ends = [0, 0, up - 1, 0, up - 1, 0]
        y = graph.node("Pad", [y, graph.constant([0] * 6 + ends)], mode="constant")
        y = graph.reshape(y, (-1, side, side, 1))
    else:
        y = graph.reshape(x.name, (-1, side, side, 1))
    y = graph.node("Pad", [y, graph.constant([0, pads[0], pads[0], 0, 0, pads[1], pads[1], 0])], mode="constant")
    side += sum(pads)
    y = graph.reshape(graph.node("Transpose", [y], perm=[0, 3, 1, 2]), (-1, 1, side, side))
    taps = np.outer(BLUR, BLUR).astype(np.float32)
    taps *= np.float32(up * up / taps.sum())
    y = graph.node("Conv", [y, graph.weight(taps[None, None])], kernel_shape=[len(BLUR)] * 2)
    side -= len(BLUR) - 1
    return Map(graph.reshape(y, (-1, x.channels, side, side)), x.channels, side)


def fused_leaky(graph: Graph, x: Map, *, lifted: int = 0) -> Map:
    """A bias (1 for the first `lifted` channels), LeakyRelu with slope 0.2, times the square root of 2."""
    bias = np.zeros((1, x.channels, 1, 1), np.float32)
    bias[:, :lifted] = 1
    biased = graph.node("Add", [x.name, graph.weight(bias)])
    return Map(graph.scalar("Mul", graph.leaky(biased), math.sqrt(2)), x.channels, x.side)


def pixel_norm(graph: Graph, x: str) -> str:
    """x divided by the root of its mean square over axis 1."""
    square = graph.mean(graph.node("Mul", [x, x]), (1,))
    root = graph.node("Sqrt", [graph.scalar("Add", square, EPSILON)])
    return graph.node("Mul", [x, graph.node("Reciprocal", [root])])


def to_rgb(graph: Graph, x: Map, style: str, *, bias: float = 0.0, gain: float = 0.04, carry: Carry = NOTHING) -> Map:
    """A modulated 1x1 convolution to three colours, not demodulated, plus a bias."""
    y = modulated(graph, x, style, 3, 1, demodulate=False, gain=gain, carry=carry)
    values = graph.weight(np.full((1, 3, 1, 1), bias, np.float32))
    return Map(graph.node("Add", [y.name, values]), 3, y.side)
