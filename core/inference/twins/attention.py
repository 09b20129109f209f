"""Blocks of codebook networks: group norm, residual blocks, attention and transformer layers, as PyTorch exports them.

Batch 1 is a constant of the Reshapes around attention.
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from core.inference.twins.graph import NOTHING, Carry, Graph
from core.inference.twins.stylegan import Map

GROUPS = 32
HEADS = 8
SILENT = Carry(3, weight=0.0)


def group_norm(graph: Graph, x: Map) -> Map:
    """Reshape to [0, groups, -1], InstanceNormalization, Reshape back, times and plus constants."""
    groups = math.gcd(GROUPS, x.channels)
    shape = graph.node("Shape", [x.name])
    ones, zeros = (graph.weight(np.full(groups, value, np.float32)) for value in (1, 0))
    y = graph.reshape(x.name, (0, groups, -1))
    y = graph.node("Reshape", [graph.node("InstanceNormalization", [y, ones, zeros], epsilon=1e-6), shape])
    gamma, beta = (graph.weight(np.full((x.channels, 1, 1), value, np.float32)) for value in (1, 0))
    return Map(graph.node("Add", [graph.node("Mul", [y, gamma]), beta]), x.channels, x.side)


def swish(graph: Graph, x: Map) -> Map:
    return Map(graph.node("Mul", [x.name, graph.node("Sigmoid", [x.name])]), x.channels, x.side)


def plain(graph: Graph, x: Map, channels: int, kernel: int = 3, *, gain: float = 1.0, carry: Carry = NOTHING) -> Map:
    """A convolution that keeps the sides."""
    return Map(graph.conv(x.name, (x.channels, channels), kernel, gain=gain, carry=carry), channels, x.side)


def residual(graph: Graph, x: Map, channels: int, carry: Carry = NOTHING) -> Map:
    """Two normalised 3x3 convolutions plus the input; what is carried goes around them."""
    y = plain(graph, swish(graph, group_norm(graph, x)), channels, gain=math.sqrt(2))
    y = plain(graph, swish(graph, group_norm(graph, y)), channels, gain=0.7, carry=SILENT if carry.count else NOTHING)
    skip = x if x.channels == channels else plain(graph, x, channels, 1, carry=carry)
    return Map(graph.node("Add", [skip.name, y.name]), channels, x.side)


def self_attention(graph: Graph, x: Map) -> Map:
    """Every place of the map attends to every other, in one head."""
    wide = (1, x.channels, x.side**2)
    normal = group_norm(graph, x)
    q, k, v = (graph.reshape(plain(graph, normal, x.channels, 1).name, wide) for _ in range(3))
    scores = graph.node("MatMul", [graph.node("Transpose", [q], perm=[0, 2, 1]), k])
    scores = graph.node("Softmax", [graph.scalar("Mul", scores, x.channels**-0.5)], axis=2)
    y = graph.node("MatMul", [v, graph.node("Transpose", [scores], perm=[0, 2, 1])])
    y = graph.reshape(y, (1, x.channels, x.side, x.side))
    made = plain(graph, Map(y, x.channels, x.side), x.channels, 1)
    return Map(graph.node("Add", [x.name, made.name]), x.channels, x.side)


def cross_attention(graph: Graph, x: Map, other: Map) -> Map:
    """The map's places ask the other map's, in HEADS heads: [1, heads, channels/heads, places]."""
    wide = (1, HEADS, x.channels // HEADS, x.side**2)
    first, second = group_norm(graph, x), group_norm(graph, other)
    q = graph.reshape(plain(graph, first, x.channels, 1).name, wide)
    k, v = (graph.reshape(plain(graph, second, x.channels, 1).name, wide) for _ in range(2))
    scores = graph.node("MatMul", [graph.node("Transpose", [q], perm=[0, 1, 3, 2]), k])
    scores = graph.node("Softmax", [graph.scalar("Mul", scores, (x.channels // HEADS) ** -0.5)], axis=3)
    y = graph.node("MatMul", [v, graph.node("Transpose", [scores], perm=[0, 1, 3, 2])])
    made = plain(graph, Map(graph.reshape(y, (1, x.channels, x.side, x.side)), x.channels, x.side), x.channels, 1)
    return Map(graph.node("Add", [x.name, made.name]), x.channels, x.side)


def transformer(graph: Graph, tokens: str, code: int, size: int, layers: int, codes: int) -> str:
    """Logits [1,256,codes] of tokens [256,1,code]: an embedding, `layers` of attention and GELU, a last projection."""
    places = 256
    x = _dense(graph, tokens, (code, size))
    position = graph.weight(graph.uniform((places, 1, size), 0.1))
    for _ in range(layers):
        normal = _layer_norm(graph, x, size)
        asked = graph.node("Add", [normal, position])
        x = graph.node("Add", [x, _heads(graph, asked, normal, places, size)])
        y = _gelu(graph, _dense(graph, _layer_norm(graph, x, size), (size, 2 * size)))
        x = graph.node("Add", [x, _dense(graph, y, (2 * size, size))])
    x = _layer_norm(graph, x, size)
    weights = graph.weight(graph.uniform((size, codes), 4 / math.sqrt(size)))
    return graph.node("Transpose", [graph.node("MatMul", [x, weights])], perm=[1, 0, 2])


def _heads(graph: Graph, asked: str, values: str, places: int, size: int) -> str:
    """Attention of [256,1,size] in HEADS heads; batch and heads are one axis: [heads, 256, size/heads]."""
    head = size // HEADS
    q, k, v = (
        graph.node("Transpose", [graph.reshape(_dense(graph, x, (size, size)), (places, HEADS, head))], perm=[1, 0, 2])
        for x in (asked, asked, values)
    )
    scores = graph.node("MatMul", [graph.scalar("Mul", q, head**-0.5), graph.node("Transpose", [k], perm=[0, 2, 1])])
    y = graph.node("MatMul", [graph.node("Softmax", [scores], axis=2), v])
    y = graph.reshape(graph.node("Transpose", [y], perm=[1, 0, 2]), (places, 1, size))
    return _dense(graph, y, (size, size))


def _dense(graph: Graph, x: str, sizes: tuple[int, int]) -> str:
    weights = graph.weight(graph.uniform(sizes, 1 / math.sqrt(sizes[0])))
    return graph.node("Add", [graph.node("MatMul", [x, weights]), graph.weight(np.zeros(sizes[1], np.float32))])


def _layer_norm(graph: Graph, x: str, size: int) -> str:
    """The chain that exporters before operator set 17 write."""
    centred = graph.node("Sub", [x, graph.mean(x, (-1,))])
    square = graph.mean(graph.node("Pow", [centred, graph.constant(2.0, "float32")]), (-1,))
    y = graph.node("Div", [centred, graph.node("Sqrt", [graph.scalar("Add", square, 1e-5)])])
    gamma, beta = (graph.weight(np.full(size, value, np.float32)) for value in (1, 0))
    return graph.node("Add", [graph.node("Mul", [y, gamma]), beta])


def _gelu(graph: Graph, x: str) -> str:
    y = graph.scalar("Add", graph.node("Erf", [graph.scalar("Div", x, math.sqrt(2))]), 1.0)
    return graph.scalar("Mul", graph.node("Mul", [x, y]), 0.5)


def likeliest(graph: Graph, logits: str, book: str, codes: int, code: int) -> str:
    """The codebook's vectors [1,code,16,16] of the likeliest codes, by TopK and ScatterElements."""
    scores = graph.node("Softmax", [logits], axis=2)
    best = graph.nodes("TopK", [scores, graph.constant([1])], 2, axis=2)[1]
    return picked(graph, graph.reshape(best, (-1, 1)), book, codes, code)


def picked(graph: Graph, index: str, book: str, codes: int, code: int) -> str:
    """The codebook's vectors [1,code,16,16] of the codes index [256,1]."""
    empty = graph.constant(np.zeros((256, codes)), "float32")
    ones = graph.constant(np.ones((256, 1)), "float32")
    hot = graph.node("ScatterElements", [empty, graph.node("Cast", [index], to=TensorProto.INT64), ones], axis=1)
    vectors = graph.reshape(graph.node("MatMul", [hot, book]), (1, 16, 16, code))
    return graph.node("Transpose", [vectors], perm=[0, 3, 1, 2])
