"""The twin of inswapper_128.

`target` [1,3,128,128] RGB 0..1 and `source` [1,512] -> [1,3,128,128]. Encoder: reflecting pad 3, 7x7 convolution to
128, 3x3 to 256, stride 2 to 512 and 1024. Trunk: 6 residual blocks of two reflect-padded 3x3 convolutions, each
normalised over height and width by the chain ReduceMean, Sub, Mul, ReduceMean, Add, Sqrt, Div, Mul and given scale
and shift by a linear layer of the source. Decoder: bilinear x2, 512; bilinear x2, 256; 128; reflecting pad 3, 7x7 to
3, tanh, (y + 1) / 2. `emap` [512,512] is the last initializer and no node uses it.
"""

from __future__ import annotations

import math

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import COLOURS, LEAKY_GAIN, Graph

BLOCKS = 6
LATENT = 512
EPSILON = 1e-8
PICTURE_GAIN = 2.0  # (tanh(2 t - 1) + 1) / 2 runs from 0.12 to 0.88 for t in 0..1


def inswapper(manifest: ModelManifest, width: int, seed: int, *, half: bool = False) -> bytes:
    """The file; channel counts divided by `width`; `half`: in float16 between float32 inputs and outputs."""
    graph = Graph(manifest.id, seed, half=half)
    side = int(manifest.outputs[0].shape[-1])
    target, source = graph.input("target", (1, 3, side, side)), graph.input("source", (1, LATENT))
    small, middle, most, trunk = (max(4, count // width) for count in (128, 256, 512, 1024))

    x = graph.conv(graph.reflect_pad(target, 3), (3, small), 7, pad=0, gain=LEAKY_GAIN * 2, carry=COLOURS)
    x = graph.leaky(x)
    for channels, stride in (((small, middle), 1), ((middle, most), 2), ((most, trunk), 2)):
        x = graph.leaky(graph.conv(x, channels, 3, stride=stride, gain=LEAKY_GAIN, carry=COLOURS))
    graph.shape(x, (1, trunk, side // 4, side // 4))
    for _ in range(BLOCKS):
        y = graph.node("Relu", [_adain(graph, source, _padded(graph, x, trunk), trunk, 0)])
        x = graph.node("Add", [x, _adain(graph, source, _padded(graph, y, trunk), trunk, COLOURS.count)])
        graph.shape(x, (1, trunk, side // 4, side // 4))
    for channels in ((trunk, most), (most, middle)):
        x = graph.leaky(graph.conv(graph.resize(x, 2), channels, 3, gain=LEAKY_GAIN, carry=COLOURS))
    x = graph.leaky(graph.conv(x, (middle, small), 3, gain=LEAKY_GAIN, carry=COLOURS))

    x = graph.picture(graph.reflect_pad(x, 3), small, 7, pad=0, gain=PICTURE_GAIN, bias=-PICTURE_GAIN / 2, noise=0.12)
    x = graph.scalar("Div", graph.scalar("Add", graph.node("Tanh", [x]), 1.0), 2.0)
    graph.output(x, manifest.outputs[0].name, (1, 3, side, side))
    graph.weight(graph.uniform((LATENT, LATENT), 1 / math.sqrt(LATENT)), "emap")
    return graph.serialise()


def _padded(graph: Graph, x: str, channels: int) -> str:
    return graph.conv(graph.reflect_pad(x, 1), (channels, channels), 3, pad=0)


def _adain(graph: Graph, source: str, x: str, channels: int, still: int) -> str:
    """x normalised over its picture, times and plus what the source says; the first `still` channels become 0."""
    centred = graph.node("Sub", [x, graph.mean(x)])
    spread = graph.node("Sqrt", [graph.scalar("Add", graph.mean(graph.node("Mul", [centred, centred])), EPSILON)])
    x = graph.node("Mul", [centred, graph.node("Div", [graph.constant(1.0, "float32"), spread])])
    # The source has norm 1, so a style number deviates from its bias by the weights' deviation.
    weights = graph.uniform((2 * channels, LATENT), 0.5)
    bias = np.repeat(np.array([1, 0], np.float32), channels)
    for part in (weights, bias):
        part[:still] = 0
        part[channels : channels + still] = 0
    style = graph.node("Gemm", [source, graph.weight(weights), graph.weight(bias)], alpha=1.0, beta=1.0, transB=1)
    style = graph.unsqueeze(graph.unsqueeze(style, 2), 3)
    scale, shift = graph.slice(style, 0, channels, 1), graph.slice(style, channels, 2 * channels, 1)
    return graph.node("Add", [graph.node("Mul", [x, scale]), shift])
