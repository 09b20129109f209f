"""Twins of hyperswap_1a/1b/1c_256 and hififace_256: encoders and decoders of residual blocks around an identity.

hififace (Wang et al. 2021, the unofficial public implementation): residual blocks halve 256 px to 8x8 with channels
from 64 to 512; blocks styled by the source (InstanceNormalization, scale and shift by linear layers) double it again;
a sigmoid map mixes the picture made with the target. hyperswap has published no description; its twin has the
contract of the file, with its own mask as second output, on the same blocks with skips in a newer operator set.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import COLOURS, LEAKY_GAIN, LIFTED, NOTHING, Carry, Graph

LATENT = 512
SILENT = Carry(3, weight=0.0)
HYPERSWAP = (64, 128, 256, 512, 1024)
HIFIFACE = (64, 128, 256, 512, 512, 512)
TRUNK_BLOCKS = 3  # the file has 402.7 MB


def hyperswap(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed, opset=20, ir_version=9)
    side = int(manifest.outputs[0].shape[-1])
    source, target = graph.input("source", (1, LATENT)), graph.input("target", (1, 3, side, side))
    sizes = [max(4, count // width) for count in HYPERSWAP]

    x = graph.leaky(graph.conv(target, (3, sizes[0]), 7, gain=LEAKY_GAIN, carry=LIFTED))
    skips = [x]
    for before, after in pairwise(sizes):
        x = graph.leaky(graph.conv(x, (before, after), 4, stride=2, pad=1, gain=LEAKY_GAIN, carry=COLOURS))
        skips.append(x)
    for _ in range(TRUNK_BLOCKS):
        x = _styled_block(graph, x, source, (sizes[-1], sizes[-1]), COLOURS)
    skips.pop()
    for before, after in pairwise(reversed(sizes)):
        x = graph.node("Concat", [graph.resize(x, 2), skips.pop()], axis=1)
        x = graph.leaky(graph.conv(x, (before + after, after), 3, gain=LEAKY_GAIN, carry=COLOURS))
        x = _styled_block(graph, x, source, (after, after), COLOURS)
    picture = graph.node("Tanh", [graph.picture(x, sizes[0], 7, gain=1.0, bias=-1.0, noise=0.5)])
    mask = graph.node("Sigmoid", [graph.conv(x, (sizes[0], 1), 3, gain=1.0, centred=True, bias=1.0)])
    for y, spec in zip((picture, mask), manifest.outputs, strict=False):
        graph.output(y, spec.name, spec.shape)
    return graph.serialise()


def hififace(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    side = int(manifest.outputs[0].shape[-1])
    source, target = graph.input("source", (1, LATENT)), graph.input("target", (1, 3, side, side))
    sizes = [max(4, count // width) for count in HIFIFACE]

    x = graph.conv(target, (3, sizes[0]), 3, gain=LEAKY_GAIN, carry=LIFTED)
    for before, after in pairwise(sizes):
        y = graph.leaky(graph.conv(graph.leaky(x), (before, before), 3, gain=LEAKY_GAIN))
        y = graph.conv(
            graph.node("AveragePool", [y], kernel_shape=[2, 2], strides=[2, 2]), (before, after), 3, gain=0.7
        )
        skip = graph.conv(x, (before, after), 1, gain=0.7, bias=None)
        x = graph.node("Add", [y, graph.node("AveragePool", [skip], kernel_shape=[2, 2], strides=[2, 2])])
    for before, after in pairwise(reversed(sizes)):
        x = _styled_block(graph, graph.resize(x, 2), source, (before, after), NOTHING)
    x = graph.leaky(x)
    made = graph.node("Tanh", [graph.conv(x, (sizes[0], 3), 3, gain=4.0, centred=True)])
    mask = graph.node("Sigmoid", [graph.conv(x, (sizes[0], 1), 3, gain=1.0, centred=True)])
    other = graph.node("Sub", [graph.constant(1.0, "float32"), mask])
    mixed = graph.node("Add", [graph.node("Mul", [mask, made]), graph.node("Mul", [other, target])])
    graph.output(mixed, manifest.outputs[0].name, (1, 3, side, side))
    return graph.serialise()


def _styled_block(graph: Graph, x: str, source: str, channels: tuple[int, int], carry: Carry) -> str:
    """Two 3x3 convolutions behind a styled InstanceNormalization and LeakyRelu each, plus the input (through a 1x1
    where channels differ); the carried channels stay as they are."""
    before, after = channels
    y = graph.leaky(_styled(graph, x, source, before))
    y = graph.conv(y, channels, 3, gain=LEAKY_GAIN)
    y = graph.leaky(_styled(graph, y, source, after))
    y = graph.conv(y, (after, after), 3, gain=0.5, carry=SILENT if carry.count else NOTHING)
    skip = x if before == after else graph.conv(x, channels, 1, gain=0.7, bias=None)
    return graph.node("Add", [y, skip])


def _styled(graph: Graph, x: str, source: str, channels: int) -> str:
    ones, zeros = (graph.weight(np.full(channels, value, np.float32)) for value in (1, 0))
    normal = graph.node("InstanceNormalization", [x, ones, zeros], epsilon=1e-5)
    style = graph.linear(source, (LATENT, 2 * channels), std=0.5)
    style = graph.unsqueeze(graph.unsqueeze(style, 2), 3)
    scale, shift = graph.split(style, (channels, channels), 1)
    scale = graph.node("Add", [graph.constant(1.0, "float32"), scale])
    return graph.node("Add", [graph.node("Mul", [scale, normal]), shift])
