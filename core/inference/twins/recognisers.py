"""Twins of the ArcFace recognisers: RGB [n,3,112,112] at (x - 127.5) / 127.5 -> embedding [n,512].

w600k_r50 is insightface's IResNet-50 with its batch norms folded as the exporter folds them: a block is
BatchNormalization, 3x3 convolution, PRelu, 3x3 convolution, plus its input (a 1x1 convolution where shapes differ).
w600k_mbf is MobileFaceNet: depthwise blocks with PRelu and linear bottlenecks.
"""

from __future__ import annotations

import math

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import Graph

SIDE = 112
EMBEDDING = 512
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, blocks; the first block of each halves
PRELU_GAIN = math.sqrt(2 / (1 + 0.25**2))


def iresnet50(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`. 43.6 M parameters at width 1."""
    graph = Graph(manifest.id, seed)
    x = iresnet_trunk(graph, graph.input(manifest.inputs[0].name, ("None", 3, SIDE, SIDE)), width)
    graph.output(x, manifest.outputs[0].name, (1, EMBEDDING))  # the published file declares 1 and gives n
    return graph.serialise()


def iresnet_trunk(graph: Graph, x: str, width: int) -> str:
    """The embedding [n,512] of faces [n,3,112,112]."""
    before = max(4, STAGES[0][0] // width)
    x = graph.prelu(graph.conv(x, (3, before), 3, gain=PRELU_GAIN), before)
    for channels, blocks in STAGES:
        after = max(4, channels // width)
        for number in range(blocks):
            stride = 2 if number == 0 else 1
            y = graph.batch_norm(x, before)
            y = graph.prelu(graph.conv(y, (before, after), 3, gain=PRELU_GAIN), after)
            y = graph.conv(y, (after, after), 3, stride=stride, gain=0.5)
            skip = graph.conv(x, (before, after), 1, stride=2, gain=1.0) if stride == 2 else x
            x = graph.node("Add", [y, skip])
            before = after
    x = graph.node("Flatten", [graph.batch_norm(x, before)], axis=1)
    # Weights that sum to 0 over the map leave out what all faces have in common.
    weights = graph.uniform((EMBEDDING, before, 7 * 7), 0.3 / math.sqrt(before * 7 * 7))
    weights -= weights.mean(2, np.float64, keepdims=True)
    flat = graph.weight(weights.reshape(EMBEDDING, -1))
    bias = graph.weight(np.zeros(EMBEDDING, np.float32))
    return graph.batch_norm(graph.node("Gemm", [x, flat, bias], alpha=1.0, beta=1.0, transB=1), EMBEDDING)


# MobileFaceNet (Chen et al. 2018) as insightface's larger variant: expanded channels, channels, stride, blocks.
MOBILE = (
    (128, 128, 1, 2),
    (128, 128, 2, 1),
    (128, 128, 1, 8),
    (256, 256, 2, 1),
    (256, 256, 1, 12),
    (512, 256, 2, 1),
    (256, 256, 1, 4),
)


def mobilefacenet(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`. 3.4 M parameters at width 1."""
    graph = Graph(manifest.id, seed)
    x = graph.input(manifest.inputs[0].name, ("None", 3, SIDE, SIDE))
    before = max(4, 128 // width)
    x = graph.prelu(graph.conv(x, (3, before), 3, stride=2, gain=PRELU_GAIN), before)
    for expanded, channels, stride, blocks in MOBILE:
        inner, after = max(4, expanded // width), max(4, channels // width)
        for _ in range(blocks):
            y = graph.prelu(graph.conv(x, (before, inner), 1, gain=PRELU_GAIN), inner)
            y = graph.conv(y, (inner, inner), 3, stride=stride, groups=inner, gain=PRELU_GAIN)
            y = graph.conv(graph.prelu(y, inner), (inner, after), 1, gain=0.5 if stride == 1 else 1.0)
            x = y if stride == 2 else graph.node("Add", [x, y])
            before = after
    last = max(8, 512 // width)
    x = graph.prelu(graph.conv(x, (before, last), 1, gain=PRELU_GAIN), last)
    x = graph.conv(x, (last, last), 7, groups=last, pad=0, gain=0.1, centred=True)
    x = graph.node("Flatten", [x], axis=1)
    x = graph.batch_norm(graph.linear(x, (last, EMBEDDING), std=1 / math.sqrt(last)), EMBEDDING)
    graph.output(x, manifest.outputs[0].name, (1, EMBEDDING))
    return graph.serialise()
