"""Twins of codeformer and restoreformer++: VQGAN encoders and decoders around a codebook of 1024 codes.

codeformer (Zhou et al. 2022): `input` [1,3,512,512] and `weight` float64 [1]. An encoder of group-normalised residual
blocks (64 to 512 channels, attention at 16x16), nine transformer layers over 256 tokens, the codebook's vectors of
the likeliest codes with the mean and deviation of the encoder's, a decoder whose features at 32 to 256 px are mixed
with the encoder's by `weight`.

restoreformer++ (Wang et al. 2023): the same kind of encoder and decoder, the nearest code by distance, and cross
attention of the decoder to the encoder's features at 16 and 32 px.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import TensorProto

from core.inference.manifest import ModelManifest
from core.inference.twins.attention import (
    SILENT,
    cross_attention,
    group_norm,
    likeliest,
    picked,
    plain,
    residual,
    self_attention,
    swish,
    transformer,
)
from core.inference.twins.graph import COLOURS, LIFTED, NOTHING, Carry, Graph
from core.inference.twins.stylegan import Map

SIDE, BOTTOM = 512, 16
BASE, CODE, TOKEN = 64, 256, 512
CODES = 1024
LAYERS = 9
BLOCKS = 2
MULTIPLIERS = {512: 1, 256: 2, 128: 2, 64: 4, 32: 4, 16: 8}  # of BASE
FUSED = (32, 64, 128, 256)
CARRYING = 256  # the side at which codeformer's decoder gets the encoder's copy of the picture


def codeformer(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`. The copy of the picture is as strong as `weight`."""
    graph = Graph(manifest.id, seed)
    sizes, code = _sizes(width), max(16, CODE // width)
    image = graph.input("input", (1, 3, SIDE, SIDE))
    weight = graph.node("Cast", [graph.input("weight", (1,), TensorProto.DOUBLE)], to=TensorProto.FLOAT)
    levels = _encoder(graph, image, sizes, code)
    latent = levels.pop(0)
    tokens = graph.node("Transpose", [graph.reshape(latent.name, (1, code, 256))], perm=[2, 0, 1])
    logits = transformer(graph, tokens, code, max(64, TOKEN // width), LAYERS, CODES)
    book = graph.weight(graph.uniform((CODES, code), 1.0))
    found = Map(likeliest(graph, logits, book, CODES, code), code, BOTTOM)
    mean, spread = _moments(graph, found)
    wanted_mean, wanted_spread = _moments(graph, latent)
    normal = graph.node("Div", [graph.node("Sub", [found.name, mean]), spread])
    moved = graph.node("Add", [graph.node("Mul", [normal, wanted_spread]), wanted_mean])

    def mix(x: Map) -> Map:
        return _fused(graph, levels[x.side], x, weight) if x.side in FUSED else x

    y = group_norm(graph, _decoder(graph, Map(moved, code, BOTTOM), sizes, mix, carries=True))
    y_name = graph.picture(y.name, y.channels, 3, gain=0.4, bias=0.0)
    graph.output(y_name, manifest.outputs[0].name, (1, 3, SIDE, SIDE))
    return graph.serialise()


def restoreformer(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    sizes, code = _sizes(width), max(16, CODE // width)
    levels = _encoder(graph, graph.input("input", (1, 3, SIDE, SIDE)), sizes, code)
    latent = levels.pop(0)
    vectors = graph.reshape(graph.node("Transpose", [latent.name], perm=[0, 2, 3, 1]), (-1, code))
    values = graph.uniform((CODES, code), 1.0)
    book, turned = graph.weight(values), graph.weight(np.ascontiguousarray(values.T))
    square = graph.node("ReduceSum", [graph.node("Mul", [vectors, vectors])], axes=[1], keepdims=1)
    norms = graph.weight((values * values).sum(1, np.float64).astype(np.float32))
    cross = graph.scalar("Mul", graph.node("MatMul", [vectors, turned]), 2.0)
    distance = graph.node("Sub", [graph.node("Add", [square, norms]), cross])
    nearest = graph.node("ArgMin", [distance], axis=1, keepdims=1)
    found = Map(picked(graph, nearest, book, CODES, code), code, BOTTOM)

    def ask(x: Map) -> Map:
        return cross_attention(graph, x, levels[x.side]) if x.side in (16, 32) else x

    y = swish(graph, group_norm(graph, _decoder(graph, found, sizes, ask, carries=False)))
    y = plain(graph, y, 3, gain=0.15)
    graph.output(y.name, manifest.outputs[0].name, (1, 3, SIDE, SIDE))
    return graph.serialise()


def _sizes(width: int) -> dict[int, int]:
    return {side: max(8, BASE * factor // width) for side, factor in MULTIPLIERS.items()}


def _encoder(graph: Graph, image: str, sizes: dict[int, int], code: int) -> dict[int, Map]:
    """The features by side, and under 0 the vectors [1,code,16,16]."""
    x = Map(graph.conv(image, (3, sizes[SIDE]), 3, gain=1.0, carry=COLOURS), sizes[SIDE], SIDE)
    levels = {}
    for side, channels in sizes.items():
        for _ in range(BLOCKS):
            x = residual(graph, x, channels, COLOURS)
            x = self_attention(graph, x) if side == BOTTOM else x
        levels[side] = x
        if side != BOTTOM:
            wide = graph.node("Pad", [x.name, graph.constant([0, 0, 0, 0, 0, 0, 1, 1])], mode="constant")
            y = graph.conv(wide, (channels, channels), 3, stride=2, pad=0, gain=1.0, carry=COLOURS)
            x = Map(y, channels, side // 2)
    x = residual(graph, self_attention(graph, residual(graph, x, x.channels)), x.channels)
    levels[0] = plain(graph, group_norm(graph, x), code)
    return levels


def _decoder(graph: Graph, x: Map, sizes: dict[int, int], change: Callable[[Map], Map], *, carries: bool) -> Map:
    """The features at the full side; `change` is called on the features of every side."""
    x = plain(graph, x, sizes[BOTTOM])
    x = residual(graph, self_attention(graph, residual(graph, x, x.channels)), x.channels)
    for side, channels in reversed(sizes.items()):
        if side != BOTTOM:
            # The three carried channels are emptied before the picture comes and kept after it.
            carry = NOTHING if not carries or side < CARRYING else SILENT if side == CARRYING else COLOURS
            wide = Map(graph.resize(x.name, 2, "nearest"), x.channels, side)
            x = plain(graph, wide, x.channels, carry=carry)
        for _ in range(BLOCKS):
            carry = COLOURS if carries and side >= CARRYING else NOTHING
            x = residual(graph, x, channels, carry)
            x = self_attention(graph, x) if side == BOTTOM else x
        x = change(x)
    return x


def _fused(graph: Graph, encoded: Map, x: Map, weight: str) -> Map:
    """x + weight x (x scale + shift), scale and shift by convolutions of both features."""
    carries = x.side == CARRYING
    both = Map(graph.node("Concat", [encoded.name, x.name], axis=1), encoded.channels + x.channels, x.side)
    both = residual(graph, both, x.channels, COLOURS if carries else NOTHING)
    made = []
    for first, last in ((NOTHING, SILENT), (LIFTED, Carry(3, bias=-1.0))):
        y = graph.leaky(graph.conv(both.name, (x.channels, x.channels), 3, carry=first if carries else NOTHING))
        made.append(graph.conv(y, (x.channels, x.channels), 3, gain=0.3, carry=last if carries else NOTHING))
    change = graph.node("Add", [graph.node("Mul", [x.name, made[0]]), made[1]])
    return Map(graph.node("Add", [x.name, graph.node("Mul", [weight, change])]), x.channels, x.side)


def _moments(graph: Graph, x: Map) -> tuple[str, str]:
    """Mean and deviation of every channel [1,channels,1,1], the latter over n - 1."""
    count = x.side**2
    flat = graph.reshape(x.name, (1, x.channels, -1))
    mean = graph.mean(flat, (2,))
    centred = graph.node("Sub", [flat, mean])
    square = graph.mean(graph.node("Mul", [centred, centred]), (2,))
    variance = graph.scalar("Div", graph.scalar("Mul", square, count), count - 1)
    spread = graph.node("Sqrt", [graph.scalar("Add", variance, 1e-5)])
    shape = (1, x.channels, 1, 1)
    return graph.reshape(mean, shape), graph.reshape(spread, shape)
