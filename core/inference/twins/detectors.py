"""Twins of the face detectors.

SCRFD: RGB [1,3,h,w] at (x - 127.5) / 128, sides multiples of 32 -> scores [anchors,1], boxes [anchors,4], points
[anchors,10] at strides 8, 16, 32 with two anchors a cell; every head ends in Transpose and Reshape(-1, C), which
flattens the batch. Widths and depths are those of the published configurations (arXiv 2105.04714).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.inference.manifest import TEMPLATES, ModelManifest
from core.inference.twins.graph import Graph

ANCHORS = 2
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Scrfd:
    """A published configuration; `stages`: channels and blocks of the backbone's stages at strides 4, 8, 16, 32.
    `score_gain` is the twin's own: it puts a small share of the scores above 0.5."""

    stem: tuple[int, int]
    stages: tuple[tuple[int, int], ...]
    neck: int
    head: int
    stacked: int
    score_gain: float
    depthwise: bool = False


SCRFD_10G = Scrfd((28, 56), ((56, 3), (88, 4), (88, 2), (224, 3)), 56, 80, 3, 3.0)
SCRFD_2_5G = Scrfd((12, 24), ((24, 3), (48, 5), (48, 3), (80, 2)), 24, 64, 2, 6.0)
SCRFD_500M = Scrfd((16, 16), ((40, 2), (72, 3), (152, 2), (288, 6)), 16, 64, 2, 30.0, depthwise=True)


def scrfd(manifest: ModelManifest, width: int, seed: int, spec: Scrfd) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    x = graph.input(manifest.inputs[0].name, (1, 3, "?", "?"))
    levels = _backbone(graph, x, spec, width)[1:]
    neck = max(4, spec.neck // width)
    sides = _neck(graph, levels, neck)
    heads = [_head(graph, x, neck, max(4, spec.head // width), spec) for x in sides]
    for x, want in zip([head[kind] for kind in range(3) for head in heads], manifest.outputs, strict=True):
        graph.output(x, want.name, ("?", want.shape[-1]))
    return graph.serialise()


def _conv(graph: Graph, x: str, channels: tuple[int, int], stride: int, *, depthwise: bool) -> str:
    """A 3x3 convolution, or a depthwise and a pointwise one, and Relu."""
    if depthwise:
        x = graph.node("Relu", [graph.conv(x, (channels[0], channels[0]), 3, stride=stride, groups=channels[0])])
        return graph.node("Relu", [graph.conv(x, channels, 1)])
    return graph.node("Relu", [graph.conv(x, channels, 3, stride=stride)])


def _backbone(graph: Graph, x: str, spec: Scrfd, width: int) -> list[tuple[str, int]]:
    """Tensors and channels at strides 4, 8, 16, 32."""
    low, before = (max(4, count // width) for count in spec.stem)
    x = graph.node("Relu", [graph.conv(x, (3, low), 3, stride=2)])
    if spec.depthwise:
        x = _conv(graph, x, (low, before), 1, depthwise=True)
    else:
        x = graph.node("Relu", [graph.conv(x, (low, low), 3)])
        x = graph.node("Relu", [graph.conv(x, (low, before), 3)])
        x = graph.node("MaxPool", [x], kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    found = []
    for level, (channels, blocks) in enumerate(spec.stages):
        after = max(4, channels // width)
        for number in range(blocks):
            stride = 2 if number == 0 and (level > 0 or spec.depthwise) else 1
            if spec.depthwise:
                x = _conv(graph, x, (before, after), stride, depthwise=True)
            else:
                x = _basic_block(graph, x, (before, after), stride)
            before = after
        found.append((x, after))
    return found


def _basic_block(graph: Graph, x: str, channels: tuple[int, int], stride: int) -> str:
    before, after = channels
    y = graph.node("Relu", [graph.conv(x, channels, 3, stride=stride)])
    y = graph.conv(y, (after, after), 3, gain=0.5)
    if stride > 1:
        x = graph.node("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    if stride > 1 or before != after:
        x = graph.conv(x, channels, 1, gain=1.0)
    return graph.node("Relu", [graph.node("Add", [y, x])])


def _neck(graph: Graph, levels: list[tuple[str, int]], channels: int) -> list[str]:
    """A path aggregation network: sums going up by nearest neighbour, then going down by stride 2."""
    sides = [graph.conv(x, (before, channels), 1, gain=1.0) for x, before in levels]
    for low in (1, 0):
        sides[low] = graph.node("Add", [sides[low], graph.resize_like(sides[low + 1], sides[low])])
    sides = [graph.conv(x, (channels, channels), 3, gain=1.0) for x in sides]
    for high in (1, 2):
        down = graph.conv(sides[high - 1], (channels, channels), 3, stride=2, gain=1.0)
        sides[high] = graph.node("Add", [sides[high], down])
    return [sides[0], *(graph.conv(x, (channels, channels), 3, gain=1.0) for x in sides[1:])]


def _head(graph: Graph, x: str, channels: int, feature: int, spec: Scrfd) -> tuple[str, str, str]:
    """Scores, boxes and points of one stride, flattened to [cells x 2, values].

    Biases put a share of the scores above 0.5, boxes about 4 strides around the cell and points into them.
    """
    for number in range(spec.stacked):
        x = _conv(graph, x, (feature if number else channels, feature), 1, depthwise=spec.depthwise)
    made = []
    points = (np.array(TEMPLATES["arcface_112_v2"], np.float32).ravel() - 0.5) * 6
    biases: tuple[tuple[NDArray[np.float32], float], ...] = (
        (np.full(1, -2.5, np.float32), spec.score_gain),
        (np.full(4, 3.0, np.float32), 0.3),
        (points.astype(np.float32), 0.2),
    )
    for kind, (bias, gain) in enumerate(biases):
        y = graph.conv(x, (feature, ANCHORS * len(bias)), 3, gain=gain, bias=np.tile(bias, ANCHORS), centred=kind == 0)
        if kind == 1:
            y = graph.node("Mul", [y, graph.weight(np.array(1.0, np.float32))])
        y = graph.reshape(graph.node("Transpose", [y], perm=[0, 2, 3, 1]), (-1, len(bias)))
        made.append(graph.node("Sigmoid", [y]) if kind == 0 else y)
    return made[0], made[1], made[2]
