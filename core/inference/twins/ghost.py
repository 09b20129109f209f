"""Twins of ghost_1/2/3_256 and blendswap_256: AEI-Net (FaceShifter, Li et al. 2019) as GHOST publishes it.

A U-Net of 4x4 convolutions with stride 2 (32 to 1024 channels, 256 px to 2x2) and transposed convolutions with skips
gives eight attribute maps. The generator starts from the identity by a transposed convolution to 2x2 and has eight
blocks with bilinear x2 (corners aligned) between; each denormalises an InstanceNormalization twice, by the attribute
map through 1x1 convolutions and by the identity through linear layers, and mixes both by a sigmoid mask. Tanh ends it.
GHOST's models differ in the layers of a block: 1, 2 or 3. blendswap takes the source face itself: an IResNet makes
the identity inside the graph.
"""

from __future__ import annotations

import numpy as np

from core.inference.manifest import ModelManifest
from core.inference.twins.graph import LEAKY_GAIN, LIFTED, Carry, Graph
from core.inference.twins.recognisers import iresnet_trunk

SIDE = 256
LATENT = 512
ENCODER = (32, 64, 128, 256, 512, 1024, 1024)
DECODER = (1024, 512, 256, 128, 64, 32)
BLOCKS = ((1024, 1024), (1024, 1024), (1024, 1024), (1024, 512), (512, 256), (256, 128), (128, 64), (64, 3))


def ghost(manifest: ModelManifest, width: int, seed: int, *, layers: int, image: bool = False) -> bytes:
    """The file; channel counts divided by `width`. `image`: the source is a face [1,3,112,112] and pictures are 0..1
    instead of -1..1."""
    graph = Graph(manifest.id, seed)
    if image:
        side = manifest.inputs[0].shape[-1]
        face = graph.input("source", (1, 3, side, side))
        face = graph.scalar("Div", graph.scalar("Sub", face, 0.5), 0.5)
        source = iresnet_trunk(graph, face, width)
        norm = graph.node("ReduceL2", [source], axes=[1], keepdims=1)
        source = graph.node("Div", [source, graph.scalar("Max", norm, 1e-12)])
    else:
        source = graph.input("source", (1, LATENT))
    target = graph.input("target", (1, 3, SIDE, SIDE))
    lift = 0.0 if image else 1.0

    maps = _attributes(graph, target, width, lift)
    x = graph.reshape(source, (-1, LATENT, 1, 1))
    before = max(4, BLOCKS[0][0] // width)
    x = graph.conv_transpose(x, (LATENT, before), 2, gain=LATENT**0.5)
    for number, (attribute, (_, wanted)) in enumerate(zip(maps, BLOCKS, strict=True)):
        last = wanted == 3
        after = 3 if last else max(4, wanted // width)
        if number:
            x = graph.resize(x, 2, align_corners=True)
        x = _block(graph, x, source, attribute, (before, after), layers, last)
        before = after
    # The blocks give the lifted picture; 2 sample - 1 (0..1) or the sample itself (-1..1) enters tanh.
    x = graph.scalar("Mul", graph.scalar("Sub", x, 0.5), 2.0) if image else graph.scalar("Sub", x, 1.0)
    x = graph.node("Tanh", [x])
    if image:
        x = graph.scalar("Div", graph.scalar("Add", x, 1.0), 2.0)
    graph.output(x, manifest.outputs[0].name, (1, 3, SIDE, SIDE))
    return graph.serialise()


def _attributes(graph: Graph, x: str, width: int, lift: float) -> list[tuple[str, int, int]]:
    """(tensor, channels, where the carried channels start) of the maps at 2, 4, .. 128 and 256 px."""
    skips: list[tuple[str, int]] = []
    before = 3
    for count in ENCODER:
        after = max(4, count // width)
        carry = Carry() if skips else Carry(3, bias=lift)
        x = graph.leaky(graph.conv(x, (before, after), 4, stride=2, pad=1, gain=LEAKY_GAIN, carry=carry), 0.1)
        skips.append((x, after))
        before = after
    x, before = skips.pop()
    maps = [(x, before, 0)]
    for count, (skip, channels) in zip(DECODER, reversed(skips), strict=True):
        after = max(4, count // width)
        up = graph.leaky(graph.conv_transpose(x, (before, after), gain=LEAKY_GAIN), 0.1)
        x, before = graph.node("Concat", [up, skip], axis=1), after + channels
        maps.append((x, before, after))
    maps.append((graph.resize(x, 2, align_corners=True), before, maps[-1][2]))
    return maps


def _block(
    graph: Graph,
    x: str,
    source: str,
    attribute: tuple[str, int, int],
    channels: tuple[int, int],
    layers: int,
    last: bool,
) -> str:
    """`layers` denormalisations with convolutions beside a skip of one; the last block carries the picture."""
    before, after = channels
    y = x
    for number in range(layers):
        size = after if number == layers - 1 else before
        y = graph.node("Relu", [_denormalised(graph, y, source, attribute, before, Carry())])
        if last and size == after:
            # The three colours: what this path makes, weak, on top of the carried picture of the skip.
            y = graph.conv(y, (before, size), 3, gain=0.25, bias=None)
            y = graph.node("Sub", [y, graph.mean(y)])
        else:
            y = graph.conv(y, (before, size), 3, gain=1.0, bias=None)
    if before == after:
        return graph.node("Add", [y, x])
    carry = LIFTED if last else Carry()
    skip = graph.node("Relu", [_denormalised(graph, x, source, attribute, before, carry)])
    skip = graph.conv(skip, channels, 3, gain=1.0, bias=None, carry=Carry(3) if last else Carry())
    return graph.node("Add", [y, skip])


def _denormalised(
    graph: Graph, x: str, source: str, attribute: tuple[str, int, int], channels: int, carry: Carry
) -> str:
    """(1 - M) x A + M x I: what the attribute map and the identity make of the normalised x."""
    attributes, size, start = attribute
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    normal = graph.node("InstanceNormalization", [x, graph.weight(ones), graph.weight(zeros)], epsilon=1e-5)
    silent = Carry(carry.count, weight=0.0)
    carried = Carry(carry.count, start=start, weight=1.0)
    gamma = graph.conv(attributes, (size, channels), 1, gain=0.5, carry=silent)
    beta = graph.conv(attributes, (size, channels), 1, gain=0.5, carry=carried)
    first = graph.node("Add", [graph.node("Mul", [gamma, normal]), beta])
    parts = []
    for bias in (1.0, 0.0):
        weights = graph.weight(graph.uniform((channels, LATENT), 0.5))
        values = graph.weight(np.full(channels, bias, np.float32))
        made = graph.node("Gemm", [source, weights, values], alpha=1.0, beta=1.0, transB=1)
        parts.append(graph.unsqueeze(graph.unsqueeze(made, 2), 3))
    second = graph.node("Add", [graph.node("Mul", [parts[0], normal]), parts[1]])
    # The mask leans to the attributes where the picture is carried, so that it is seen.
    mask = graph.node("Sigmoid", [graph.conv(normal, (channels, 1), 1, gain=0.5, bias=-3.0 if carry.count else 0.0)])
    other = graph.node("Sub", [graph.constant(1.0, "float32"), mask])
    return graph.node("Add", [graph.node("Mul", [other, first]), graph.node("Mul", [mask, second])])
