"""Twins of gpen_256/512/1024/2048 and of uniface_256: StyleGAN2 in rosinality's layout behind an encoder.

GPEN (Yang et al. 2021, FullGenerator): a 1x1 convolution and blurred 3x3 convolutions with stride 2 go down to 4x4; a
linear layer and eight more with pixel norm give the style; every level of the encoder is concatenated where StyleGAN2
adds noise. Going up, modulated transposed convolutions with stride 2 are followed by a blur.

uniface (Xu et al. 2022) is built of the same blocks here: the style comes from an encoder of the source face, the
concatenated maps from one of the target.
"""

from __future__ import annotations

import math

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import NOTHING, Carry, Graph
from core.inference.twins.stylegan import STYLE, Map, blurred, fused_leaky, modulated, pixel_norm, to_rgb

MLP_LAYERS = 8
COLOURS = Carry(3)
# channel multiplier and narrowing of the published files by side
WIDTHS = {256: (1, 0.5), 512: (2, 1.0), 1024: (2, 1.0), 2048: (2, 1.0)}


def gpen(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    side = int(manifest.inputs[0].shape[-1])
    x = graph.input(manifest.inputs[0].name, (1, 3, side, side))
    sizes = _sizes(side, *WIDTHS.get(side, (2, 1.0)), width)
    maps = _encoder(graph, x, sizes)
    graph.output(
        _generator(graph, _style(graph, maps[-1], True), maps, sizes), manifest.outputs[0].name, (1, 3, side, side)
    )
    return graph.serialise()


def uniface(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`; the source face is RGB 0..1, the target -1..1."""
    graph = Graph(manifest.id, seed)
    side = int(manifest.outputs[0].shape[-1])
    source, target = graph.input("source", (1, 3, side, side)), graph.input("target", (1, 3, side, side))
    sizes = _sizes(side, 2, 1.0, width)
    style = _style(graph, _encoder(graph, source, sizes)[-1], False)
    maps = _encoder(graph, target, sizes)
    graph.output(_generator(graph, style, maps, sizes), manifest.outputs[0].name, (1, 3, side, side))
    return graph.serialise()


def _sizes(side: int, multiplier: int, narrow: float, width: int) -> dict[int, int]:
    """Channels by side, from 4 on; powers of two up to `side`."""
    table = {at: 512 if at < 64 else 16384 * multiplier // at for at in (4 << step for step in range(10)) if at <= side}
    return {at: max(4, int(min(512, count) * narrow) // width) for at, count in table.items()}


def _encoder(graph: Graph, x: str, sizes: dict[int, int]) -> list[Map]:
    """Maps from the full side down to 4; the first carries the lifted picture."""
    side = max(sizes)
    first = graph.conv(x, (3, sizes[side]), 1, gain=1.0, bias=None, carry=COLOURS)
    maps = [fused_leaky(graph, Map(first, sizes[side], side), lifted=COLOURS.count)]
    while side > 4:
        side //= 2
        wide = blurred(graph, maps[-1], (2, 2))
        y = graph.conv(wide.name, (wide.channels, sizes[side]), 3, stride=2, pad=0, gain=1.0, bias=None)
        maps.append(fused_leaky(graph, Map(y, sizes[side], side)))
    return maps


def _style(graph: Graph, x: Map, mapped: bool) -> str:
    """The style of a 4x4 map: a linear layer, a pixel norm and, `mapped`, eight more layers.

    The first layer's weights sum to 0 over the map, so that the norm does not leave what all pictures have in common.
    """
    flat = x.channels * 16
    weights = graph.uniform((STYLE, x.channels, 16), 1 / math.sqrt(flat))
    weights -= weights.mean(2, np.float64, keepdims=True)
    bias = graph.weight(np.zeros(STYLE, np.float32))
    flattened = graph.reshape(x.name, (1, -1))
    y = graph.node("Gemm", [flattened, graph.weight(weights.reshape(STYLE, flat)), bias], alpha=1.0, beta=1.0, transB=1)
    y = pixel_norm(graph, graph.scalar("Mul", graph.leaky(y), math.sqrt(2)))
    for _ in range(MLP_LAYERS if mapped else 0):
        y = graph.scalar("Mul", graph.leaky(graph.linear(y, (STYLE, STYLE), std=1 / math.sqrt(STYLE))), math.sqrt(2))
    return y


def _generator(graph: Graph, style: str, maps: list[Map], sizes: dict[int, int]) -> str:
    """The picture, from 4x4 on; `maps` of all sides take the place of noise."""
    x = Map(graph.weight(graph.uniform((1, sizes[4], 4, 4), 1.0)), sizes[4], 4)
    x = _styled(graph, x, style, sizes[4], maps[-1])
    image = to_rgb(graph, x, style)
    for noise in reversed(maps[:-1]):
        side = noise.side
        wide = modulated(graph, x, style, sizes[side], 3, transposed=True)
        wide = blurred(graph, Map(wide.name, wide.channels, wide.side), (1, 1))
        x = _mixed(graph, Map(graph.scalar("Mul", wide.name, 4.0), wide.channels, side), noise)
        x = _styled(graph, x, style, sizes[side], noise)
        # The lifted picture passed two gains of sqrt(2).
        last = side == maps[0].side
        carry = Carry(3, sizes[side], weight=0.5, mixed=True) if last else NOTHING
        above = blurred(graph, image, (2, 1), up=2)
        image = to_rgb(graph, x, style, bias=-1.0 if last else 0.0, carry=carry)
        image = Map(graph.node("Add", [image.name, above.name]), 3, side)
    return image.name


def _styled(graph: Graph, x: Map, style: str, channels: int, noise: Map) -> Map:
    return _mixed(graph, modulated(graph, x, style, channels, 3), noise)


def _mixed(graph: Graph, x: Map, noise: Map) -> Map:
    """x with the encoder's map, times a weight, as further channels; bias, LeakyRelu."""
    added = graph.node("Mul", [graph.weight(np.ones(1, np.float32)), noise.name])
    both = graph.node("Concat", [x.name, added], axis=1)
    return fused_leaky(graph, Map(both, x.channels + noise.channels, x.side))
