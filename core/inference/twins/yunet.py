"""The twin of yunet_2023_mar (Wu et al. 2023, OpenCV's model zoo).

BGR 0..255 [1,3,640,640] -> at strides 8, 16, 32 class and object probabilities [1,cells,1], boxes [1,cells,4] and
points [1,cells,10]. Blocks of a pointwise and a depthwise convolution, max pools between, a top-down neck of sums,
heads that are transposed and reshaped to [1,cells,C]: the 1 is a constant of the file.
"""

from __future__ import annotations

import math

import numpy as np

from core.inference.manifest import TEMPLATES, ModelManifest
from core.inference.twins.graph import Graph

STEM = (16, 16)
STAGES = (64, 64, 64, 64)  # at strides 4, 8, 16, 32
KINDS = ("cls", "obj", "bbox", "kps")
SCORE_GAIN = 1.5  # puts a small share of the scores above 0.5
FACE_CELLS = 4.0  # a made-up face spans this many cells


def yunet(manifest: ModelManifest, width: int, seed: int) -> bytes:
    """The file; channel counts divided by `width`."""
    graph = Graph(manifest.id, seed)
    spec = manifest.inputs[0]
    x = graph.input(spec.name, spec.shape)
    low, before = (max(8, count // width) for count in STEM)
    # Samples run to 255: the first layer brings them down.
    x = graph.node("Relu", [graph.conv(x, (3, low), 3, stride=2, gain=math.sqrt(2) / 64)])
    x = _unit(graph, x, (low, before))
    levels: list[str] = []
    for channels in STAGES:
        after = max(8, channels // width)
        x = graph.node("MaxPool", [x], kernel_shape=[2, 2], strides=[2, 2])
        x = _unit(graph, x, (before, after))
        x = _unit(graph, x, (after, after)) if levels else x
        levels.append(x)
        before = after
    sides = levels[1:]
    sides[2] = _unit(graph, sides[2], (before, before))
    for at in (1, 0):
        up = graph.resize(sides[at + 1], 2, "nearest")
        sides[at] = _unit(graph, graph.node("Add", [sides[at], up]), (before, before))
    features = [_unit(graph, side, (before, before)) for side in sides]
    made = {f"{kind}_{8 << level}": _head(graph, y, before, kind) for kind in KINDS for level, y in enumerate(features)}
    for wanted in manifest.outputs:
        graph.output(made[wanted.name], wanted.name, wanted.shape)
    return graph.serialise()


def _unit(graph: Graph, x: str, channels: tuple[int, int]) -> str:
    """A pointwise and a depthwise convolution, Relu."""
    after = channels[1]
    x = graph.conv(x, channels, 1, gain=1.0)
    return graph.node("Relu", [graph.conv(x, (after, after), 3, groups=after, gain=1.5)])


def _head(graph: Graph, x: str, channels: int, kind: str) -> str:
    """One output of one stride, [1,cells,C]; probabilities lean to no face, boxes and points to one of 4 cells."""
    points = (np.array(TEMPLATES["arcface_112_v2"]).ravel() - 0.5) * FACE_CELLS
    biases = {
        "cls": np.full(1, -2.0),
        "obj": np.full(1, -2.0),
        "bbox": np.array([0, 0, math.log(FACE_CELLS), math.log(FACE_CELLS)]),
        "kps": points,
    }
    bias, scored = biases[kind], kind in ("cls", "obj")
    size = len(bias)
    x = graph.conv(x, (channels, size), 1, gain=1.0)
    x = graph.conv(x, (size, size), 3, groups=size, gain=SCORE_GAIN if scored else 0.1, bias=bias, centred=scored)
    x = graph.reshape(graph.node("Transpose", [x], perm=[0, 2, 3, 1]), (1, -1, size))
    return graph.node("Sigmoid", [x]) if scored else x
