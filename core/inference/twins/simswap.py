"""Twins of simswap_256 and simswap_512, and of the embedding converters.

SimSwap's generator (Chen et al. 2020, the published Generator_Adain_Upsample without its deep level): reflecting pad
3, 7x7 convolution to 64, stride 2 to 128, 256 and 512, Relu; 9 residual blocks of two reflect-padded 3x3
convolutions, each normalised over height and width by the chain of ReduceMean, Sub, Mul, ReduceMean, Add, Sqrt, Div,
Mul and styled by x (1 + scale) + shift, where a linear layer of the source is reshaped to [-1,2,C,1,1]; bilinear x2
with 3x3 convolutions to 256, 128 and 64; reflecting pad 3, 7x7 to 3. The model of 256 px ends in (tanh + 1) / 2, the
one of 512 px in the convolution. Batch norms are folded into convolutions, as the exporter folds them.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import COLOURS, LEAKY_GAIN, Carry, Graph

BLOCKS = 9
LATENT = 512
EPSILON = 1e-8
# ImageNet's mean and deviation, which the model of 256 px takes its target in.
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
DEVIATION = np.array((0.229, 0.224, 0.225), np.float32)
CONVERTER_SIZES = (512, 1024, 2048, 1024, 512)


def simswap(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    side = int(manifest.outputs[0].shape[-1])
    source, target = graph.input("source", (1, LATENT)), graph.input("target", (1, 3, side, side))
    sizes = [max(4, count // width) for count in (64, 128, 256, 512)]

    # A carried channel is lifted so that ReLU lets it pass: 2.5 deviations below the mean become 0.
    lift = 0.0 if side > 256 else 2.5
    x = graph.conv(graph.reflect_pad(target, 3), (3, sizes[0]), 7, pad=0, carry=Carry(3, bias=lift))
    x = graph.node("Relu", [x])
    for channels in pairwise(sizes):
        x = graph.node("Relu", [graph.conv(x, channels, 3, stride=2, carry=COLOURS)])
    for _ in range(BLOCKS):
        y = graph.node("Relu", [_styled(graph, source, x, sizes[-1], 0)])
        x = graph.node("Add", [x, _styled(graph, source, y, sizes[-1], COLOURS.count)])
    for channels in pairwise(reversed(sizes)):
        x = graph.node("Relu", [graph.conv(graph.resize(x, 2), channels, 3, carry=COLOURS)])
    x = graph.reflect_pad(x, 3)
    if side > 256:
        x = graph.picture(x, sizes[0], 7, pad=0, gain=1.0, bias=0.0, noise=0.08)
    else:
        # sample = (number - lift) x deviation + mean; the picture enters tanh as 2 x sample - 1
        gain, bias = 2 * float(DEVIATION.mean()), 2 * float(MEAN.mean() - lift * DEVIATION.mean()) - 1
        x = graph.picture(x, sizes[0], 7, pad=0, gain=gain, bias=bias)
        x = graph.scalar("Div", graph.scalar("Add", graph.node("Tanh", [x]), 1.0), 2.0)
    graph.output(x, manifest.outputs[0].name, (1, 3, side, side))
    return graph.serialise()


def converter(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """An embedding converter: [n,512] -> [n,512] through three hidden layers with batch norms and LeakyRelu.

    The first and last layer keep 512 numbers at any width; hidden ones are divided. A hidden layer of `width` 8 still
    turns different faces into clearly different vectors.
    """
    graph = Graph(manifest.id, seed)
    batch = manifest.inputs[0].shape[0]
    x = graph.input(manifest.inputs[0].name, (batch, LATENT))
    sizes = [LATENT, *(max(4, count // width) for count in CONVERTER_SIZES[1:-1]), LATENT]
    for before, after in pairwise(sizes[:-1]):
        x = graph.linear(x, (before, after), std=LEAKY_GAIN / math.sqrt(before))
        x = graph.leaky(graph.batch_norm(x, after))
    x = graph.linear(x, (sizes[-2], LATENT), std=1 / math.sqrt(sizes[-2]))
    graph.output(x, manifest.outputs[0].name, (batch, LATENT))
    return graph.serialise()


def _styled(graph: Graph, source: str, x: str, channels: int, still: int) -> str:
    """A padded convolution, normalised, styled by the source; the first `still` channels become 0."""
    x = graph.conv(graph.reflect_pad(x, 1), (channels, channels), 3, pad=0)
    x = graph.node("Sub", [x, graph.mean(x)])
    spread = graph.scalar("Add", graph.mean(graph.node("Mul", [x, x])), EPSILON)
    x = graph.node("Mul", [x, graph.node("Div", [graph.constant(1.0, "float32"), graph.node("Sqrt", [spread])])])
    weights, bias = graph.uniform((2 * channels, LATENT), 0.5), np.zeros(2 * channels, np.float32)
    weights[:still] = 0
    weights[channels : channels + still] = 0
    bias[:still] = -1
    style = graph.node("Gemm", [source, graph.weight(weights), graph.weight(bias)], alpha=1.0, beta=1.0, transB=1)
    style = graph.reshape(style, (-1, 2, channels, 1, 1))
    scale, shift = (graph.node("Gather", [style, graph.constant(number)], axis=1) for number in (0, 1))
    x = graph.node("Mul", [x, graph.scalar("Add", graph.scalar("Mul", scale, 1.0), 1.0)])
    return graph.node("Add", [x, graph.scalar("Mul", shift, 1.0)])
