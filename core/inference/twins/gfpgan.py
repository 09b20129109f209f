"""The twin of gfpgan_1.4: GFPGANv1Clean (Wang et al. 2021) with its published widths.

`input` [1,3,512,512] RGB -1..1 -> [1,3,512,512]. A U-Net of residual blocks (32 to 256 channels, 512 px to 4x4 and
back) gives 16 style vectors through one linear layer and, at every size, scale and shift of half of the channels of a
StyleGAN2 decoder without blur (bilinear x2 inside its modulated convolutions). Batch norms: none. 84 M parameters,
198 GMAC at width 1.
"""

from __future__ import annotations

import math

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import LEAKY_GAIN, NOTHING, Carry, Graph
from core.inference.twins.stylegan import STYLE, Map, modulated, to_rgb

SIDE = 512
STYLES = 16
# Channels of the U-Net and of the decoder by side.
UNET = {4: 256, 8: 256, 16: 256, 32: 256, 64: 256, 128: 128, 256: 64, 512: 32}
DECODER = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64}
SIDES = tuple(UNET)
SILENT = Carry(3, weight=0.0)
COLOURS = Carry(3)


def gfpgan(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    x = graph.input(manifest.inputs[0].name, (1, 3, SIDE, SIDE))
    encoder = {side: max(4, count // width) for side, count in UNET.items()}
    decoder = {side: max(8, count // width) for side, count in DECODER.items()}

    x = graph.leaky(graph.conv(x, (3, encoder[SIDE]), 1, carry=Carry(3, bias=1.0)))
    skips = []
    for side in reversed(SIDES[:-1]):
        # Only the first halving carries the picture: its copy at 256 px enters the last doubling again.
        carry = COLOURS if side == SIDES[-2] else NOTHING
        x = _residual(graph, x, (encoder[2 * side], encoder[side]), 0.5, carry)
        skips.append(x)
    x = graph.leaky(graph.conv(x, (encoder[4], encoder[4]), 3, gain=LEAKY_GAIN))
    flat = encoder[4] * 4 * 4
    codes = graph.linear(graph.reshape(x, (1, -1)), (flat, STYLES * STYLE), std=1 / math.sqrt(flat))
    codes = graph.reshape(codes, (1, -1, STYLE))

    conditions = {}
    for side in SIDES[1:]:
        carry = COLOURS if side == SIDES[-1] else SILENT if side == SIDES[-2] else NOTHING
        x = graph.node("Add", [x, skips.pop()])
        x = _residual(graph, x, (encoder[side // 2], encoder[side]), 2, carry)
        conditions[side] = _condition(graph, x, encoder[side], decoder[side] // 2, side == SIDES[-1])

    image = _decoder(graph, codes, decoder, conditions)
    graph.output(image, manifest.outputs[0].name, (1, 3, SIDE, SIDE))
    return graph.serialise()


def _residual(graph: Graph, x: str, channels: tuple[int, int], factor: float, carry: Carry) -> str:
    """3x3, resize, 3x3, plus a resized 1x1; the carried channels come from the first path alone."""
    before, _ = channels
    first = COLOURS if carry.count and carry.weight else NOTHING
    y = graph.leaky(graph.conv(x, (before, before), 3, gain=LEAKY_GAIN, carry=first))
    y = graph.leaky(graph.conv(graph.resize(y, factor), channels, 3, gain=0.7, carry=carry))
    skip = graph.conv(graph.resize(x, factor), channels, 1, gain=0.7, bias=None, carry=SILENT if carry.count else carry)
    return graph.node("Add", [y, skip])


def _condition(graph: Graph, x: str, channels: int, wanted: int, carries: bool) -> tuple[str, str]:
    """Scale and shift of one size, each by two 3x3 convolutions."""
    made = []
    for bias, last in ((1.0, SILENT), (0.0, COLOURS)):
        first = COLOURS if carries else NOTHING
        y = graph.leaky(graph.conv(x, (channels, channels), 3, gain=LEAKY_GAIN, carry=first))
        made.append(graph.conv(y, (channels, wanted), 3, gain=0.3, bias=bias, carry=last if carries else NOTHING))
    return made[0], made[1]


def _decoder(graph: Graph, codes: str, sizes: dict[int, int], conditions: dict[int, tuple[str, str]]) -> str:
    def code(number: int) -> str:
        return graph.node("Gather", [codes, graph.constant(number)], axis=1)

    x = Map(graph.weight(graph.uniform((1, sizes[4], 4, 4), 1.0)), sizes[4], 4)
    x = _styled(graph, x, code(0), sizes[4], NOTHING)
    image = to_rgb(graph, x, code(1))
    for level, side in enumerate(SIDES[1:]):
        last = side == SIDES[-1]
        half = sizes[side] // 2
        wide = Map(graph.resize(x.name, 2), x.channels, side)
        x = _styled(graph, wide, code(2 * level + 1), sizes[side], NOTHING)
        same, changed = graph.split(x.name, (half, sizes[side] - half), 1)
        scale, shift = conditions[side]
        changed = graph.node("Add", [graph.node("Mul", [changed, scale]), shift])
        x = Map(graph.node("Concat", [same, changed], axis=1), sizes[side], side)
        x = _styled(graph, x, code(2 * level + 2), sizes[side], Carry(3, half, half) if last else NOTHING)
        # The lifted picture passed one gain of sqrt(2).
        carry = Carry(3, half, weight=math.sqrt(0.5), mixed=True) if last else NOTHING
        skip = image
        image = to_rgb(graph, x, code(min(2 * level + 3, STYLES - 1)), bias=-1.0 if last else 0.0, carry=carry)
        image = Map(graph.node("Add", [image.name, graph.resize(skip.name, 2)]), 3, side)
    return image.name


def _styled(graph: Graph, x: Map, style: str, channels: int, carry: Carry) -> Map:
    """A modulated 3x3 convolution, times sqrt(2), plus noise and bias, LeakyRelu."""
    y = modulated(graph, x, style, channels, 3, carry=carry)
    scaled = graph.scalar("Mul", y.name, math.sqrt(2))
    strength = graph.weight(np.full(1, 0.05, np.float32))
    noise = graph.node("Mul", [strength, graph.weight(graph.uniform((1, 1, y.side, y.side), 1.0))])
    biased = graph.node(
        "Add", [graph.node("Add", [scaled, noise]), graph.weight(np.zeros((1, channels, 1, 1), np.float32))]
    )
    return Map(graph.leaky(biased), channels, y.side)
