"""Twins of the mask models.

xseg: DeepFaceLab's XSeg as tf2onnx writes it: [n,256,256,3] BGR 0..1 -> [n,256,256,1], a transpose, six levels of
3x3 convolutions with filter response normalisation and a thresholded linear unit, blurred halving, two dense layers
at the 4x4 bottom, transposed convolutions with skips, sigmoid.

bisenet: BiSeNet (Yu et al. 2018) on ResNet-34 as public face parsers export it: [n,3,512,512] with ImageNet's mean
and deviation -> logits [n,19,512,512].
"""

from __future__ import annotations

import math

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import Graph

XSEG_LEVELS = ((32, 2, 4), (64, 2, 3), (128, 2, 2), (256, 3, 2), (256, 3, 2), (256, 3, 2))  # channels, convs, blur
XSEG_RAISED = 128  # channels of a transposed convolution at most
RESNET34 = ((64, 3), (128, 4), (256, 6), (512, 3))
DENSE = 512
BLURS = {2: (1, 1), 3: (1, 2, 1), 4: (1, 3, 3, 1)}


def xseg(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed, opset=13, ir_version=7)
    spec, wanted = manifest.inputs[0], manifest.outputs[0]
    x = graph.node("Transpose", [graph.input(spec.name, spec.shape)], perm=[0, 3, 1, 2])
    skips, before = [], 3
    for channels, convs, blur in XSEG_LEVELS:
        after = max(4, channels // width)
        for _ in range(convs):
            x = _response(graph, graph.conv(x, (before, after), 3), after)
            before = after
        skips.append((x, after))
        taps = np.outer(BLURS[blur], BLURS[blur]).astype(np.float32)
        kernels = np.repeat((taps / taps.sum())[None, None], after, 0)
        pads = [(blur - 1) // 2] * 2 + [blur // 2 - (0 if blur % 2 else 1)] * 2
        x = graph.node(
            "Conv", [x, graph.weight(kernels)], group=after, kernel_shape=[blur] * 2, pads=pads, strides=[2, 2]
        )
    dense, flat = max(8, DENSE // width), before * 4 * 4
    x = graph.reshape(x, (-1, flat))
    for sizes in ((flat, dense), (dense, flat)):
        weights = graph.weight(graph.uniform(sizes, 1 / math.sqrt(sizes[0])))
        bias = graph.weight(np.zeros(sizes[1], np.float32))
        x = graph.node("Add", [graph.node("MatMul", [x, weights]), bias])
    x = graph.reshape(x, (-1, before, 4, 4))
    for (skip, channels), (_, convs, _) in zip(reversed(skips), reversed(XSEG_LEVELS), strict=True):
        raised = min(channels, max(4, XSEG_RAISED // width))
        x = _response(graph, graph.conv_transpose(x, (before, raised), 3), raised)
        x, before = graph.node("Concat", [x, skip], axis=1), raised + channels
        for _ in range(convs):
            x, before = _response(graph, graph.conv(x, (before, channels), 3), channels), channels
    x = graph.conv(x, (before, 1), 3, gain=1.0, centred=True, bias=3.0)
    x = graph.node("Transpose", [graph.node("Sigmoid", [x])], perm=[0, 2, 3, 1])
    graph.output(x, wanted.name, wanted.shape)
    return graph.serialise()


def _response(graph: Graph, x: str, channels: int) -> str:
    """x over the root of its mean square over the picture, times and plus constants; no less than a threshold."""
    square = graph.mean(graph.node("Mul", [x, x]))
    root = graph.node("Sqrt", [graph.scalar("Add", square, 1e-6)])
    x = graph.node("Mul", [x, graph.node("Reciprocal", [root])])
    ones, zeros, floor = (graph.weight(np.full((1, channels, 1, 1), value, np.float32)) for value in (1, 0, -0.5))
    return graph.node("Max", [graph.node("Add", [graph.node("Mul", [x, ones]), zeros]), floor])


def bisenet(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    spec, wanted = manifest.inputs[0], manifest.outputs[0]
    before = max(4, 64 // width)
    x = graph.node("Relu", [graph.conv(graph.input(spec.name, spec.shape), (3, before), 7, stride=2)])
    x = graph.node("MaxPool", [x], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    levels = []
    for number, (channels, blocks) in enumerate(RESNET34):
        after = max(4, channels // width)
        for block in range(blocks):
            stride = 2 if number and block == 0 else 1
            y = graph.node("Relu", [graph.conv(x, (before, after), 3, stride=stride)])
            y = graph.conv(y, (after, after), 3, gain=0.5)
            x = graph.conv(x, (before, after), 1, stride=stride, gain=1.0) if stride == 2 else x
            x = graph.node("Relu", [graph.node("Add", [y, x])])
            before = after
        levels.append((x, after))

    half = max(4, 128 // width)
    (low, low_size), (middle, middle_size), (high, high_size) = levels[1:]
    top = graph.node("Relu", [graph.conv(graph.mean(high), (high_size, half), 1)])
    up = graph.node("Add", [_attention(graph, high, (high_size, half)), graph.resize_like(top, high)])
    up = graph.node("Relu", [graph.conv(graph.resize_like(up, middle), (half, half), 3)])
    up = graph.node("Add", [_attention(graph, middle, (middle_size, half)), up])
    up = graph.node("Relu", [graph.conv(graph.resize_like(up, low), (half, half), 3)])

    both, wide = graph.node("Concat", [low, up], axis=1), max(4, 256 // width)
    x = graph.node("Relu", [graph.conv(both, (low_size + half, wide), 1)])
    weights = graph.node("Relu", [graph.conv(graph.mean(x), (wide, wide), 1, bias=None)])
    weights = graph.node("Sigmoid", [graph.conv(weights, (wide, wide), 1, bias=None)])
    x = graph.node("Add", [graph.node("Mul", [x, weights]), x])
    x = graph.node("Relu", [graph.conv(x, (wide, wide), 3)])
    classes = int(wanted.shape[1])
    # Skin, the class 1, wins where nothing stands out, so that a twin's mask keeps most of a face.
    bias = np.zeros(classes, np.float32)
    bias[1] = 2.0
    x = graph.conv(x, (wide, classes), 3, gain=1.0, bias=bias, centred=True)
    graph.output(graph.resize(x, 8, align_corners=True), wanted.name, wanted.shape)
    return graph.serialise()


def _attention(graph: Graph, x: str, channels: tuple[int, int]) -> str:
    x = graph.node("Relu", [graph.conv(x, channels, 3)])
    share = graph.conv(graph.mean(x), (channels[1], channels[1]), 1, bias=None)
    return graph.node("Mul", [x, graph.node("Sigmoid", [share])])
