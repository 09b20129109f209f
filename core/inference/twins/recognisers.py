"""Twins of the ArcFace recognisers: RGB [n,3,112,112] at (x - 127.5) / 127.5 -> embedding [n,512].

w600k_r50 is insightface's IResNet-50 with its batch norms folded as the exporter folds them: a block is
BatchNormalization, 3x3 convolution, PRelu, 3x3 convolution, plus its input (a 1x1 convolution where shapes differ).
w600k_mbf is MobileFaceNet: depthwise blocks with PRelu and linear bottlenecks.
"""

from __future__ import annotations

import math

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import Graph

SIDE = 112
EMBEDDING = 512
STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))  # channels, blocks; the first block of each halves
PRELU_GAIN = math.sqrt(2 / (1 + 0.25**2))


def iresnet50(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`. 43.6 M parameters at width 1."""
    graph = Graph(manifest.id, seed)
    x = graph.input(manifest.inputs[0].name, ("None", 3, SIDE, SIDE))
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
    size = before * 7 * 7
    x = graph.batch_norm(graph.linear(x, (size, EMBEDDING), std=1 / math.sqrt(size)), EMBEDDING)
    graph.output(x, manifest.outputs[0].name, (1, EMBEDDING))
    return graph.serialise()
