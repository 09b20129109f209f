"""Chains of mean and deviation over height and width become InstanceNormalization.

The chain (x - mean) / sqrt(mean((x - mean)^2) + eps) breaks in float16: 1e-8 becomes 0 and squares pass 65504 from
255.9 on. InstanceNormalization says the same in one node that every provider computes in float32.

Matched forms: the square as Mul(c, c) or Pow(c, 2); the root as Sqrt, then Div(1, s), Reciprocal or Div(c, s); or as
Pow(v, 0.5) or Pow(v, -0.5).
"""

from __future__ import annotations

import numpy as np
import onnx

from core.inference.surgery.editor import Editor, attribute


class _Chains:
    def __init__(self, editor: Editor) -> None:
        self.editor = editor
        self.made_by = editor.producers()

    def source(self, name: str, *ops: str) -> onnx.NodeProto | None:
        """The node that makes `name`, if it is one of `ops`."""
        node = self.made_by.get(name)
        return node if node is not None and node.op_type in ops else None

    def scalar(self, name: str) -> float | None:
        value = self.editor.const(name)
        return float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None

    def mean_of(self, name: str) -> str | None:
        """What `name` is the mean of, over height and width of pictures [n,c,h,w]."""
        node = self.source(name, "ReduceMean")
        if node is None or not attribute(node, "keepdims", 1):
            return None
        axes = self.editor.axes(node)
        shape = self.editor.shapes.get(node.input[0])
        if axes is None or shape is None or len(shape) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
            return None
        return str(node.input[0])

    def centred(self, name: str) -> str | None:
        """x, where `name` is x - mean(x)."""
        node = self.source(name, "Sub")
        return str(node.input[0]) if node is not None and self.mean_of(node.input[1]) == node.input[0] else None

    def variance(self, name: str) -> tuple[str, float] | None:
        """(c, eps), where `name` is mean(c^2) + eps."""
        node = self.source(name, "Add")
        if node is None:
            return None
        for mean, other in ((node.input[0], node.input[1]), (node.input[1], node.input[0])):
            epsilon, squares = self.scalar(other), self.mean_of(mean)
            base = None if squares is None else self.square(squares)
            if epsilon is not None and base is not None:
                return base, epsilon
        return None

    def square(self, name: str) -> str | None:
        node = self.source(name, "Mul", "Pow")
        if node is None:
            return None
        if node.op_type == "Mul":
            return str(node.input[0]) if node.input[0] == node.input[1] else None
        return str(node.input[0]) if self.scalar(node.input[1]) == 2 else None

    def deviation(self, name: str) -> tuple[str, float] | None:
        """(c, eps), where `name` is sqrt(mean(c^2) + eps)."""
        node = self.source(name, "Sqrt", "Pow")
        if node is None or (node.op_type == "Pow" and self.scalar(node.input[1]) != 0.5):
            return None
        return self.variance(node.input[0])

    def inverse(self, name: str) -> tuple[str, float] | None:
        """(c, eps), where `name` is 1 / sqrt(mean(c^2) + eps)."""
        node = self.source(name, "Div", "Reciprocal", "Pow")
        if node is None:
            return None
        if node.op_type == "Pow":
            return self.variance(node.input[0]) if self.scalar(node.input[1]) == -0.5 else None
        if node.op_type == "Div":
            return self.deviation(node.input[1]) if self.scalar(node.input[0]) == 1 else None
        return self.deviation(node.input[0])

    def normalised(self, node: onnx.NodeProto) -> tuple[str, float] | None:
        """(x, eps), where `node` is the last of a chain over x."""
        pairs: list[tuple[str, tuple[str, float] | None]] = []
        if node.op_type == "Mul":
            first, second = node.input
            pairs = [(first, self.inverse(second)), (second, self.inverse(first))]
        elif node.op_type == "Div":
            pairs = [(node.input[0], self.deviation(node.input[1]))]
        for centred, found in pairs:
            x = self.centred(centred)
            if found is not None and found[0] == centred and x is not None:
                return x, found[1]
        return None


def normalise_instances(editor: Editor) -> int:
    """Replace every chain; returns how many. Shapes must be inferred; sizes of height and width may be free."""
    chains = _Chains(editor)
    made = 0
    for at, node in enumerate(editor.nodes):
        found = chains.normalised(node)
        channels = editor.shapes.get(found[0], ())[1:2] if found else ()
        if found is None or not channels or not isinstance(channels[0], int):
            continue
        dtype = editor.const(node.input[1])
        kind = np.float32 if dtype is None else dtype.dtype
        ones = editor.add_const(np.ones(channels[0], kind), "ones")
        zeros = editor.add_const(np.zeros(channels[0], kind), "zeros")
        new = onnx.helper.make_node(
            "InstanceNormalization", [found[0], ones, zeros], list(node.output), name=node.name, epsilon=found[1]
        )
        editor.nodes[at] = new
        chains.made_by[node.output[0]] = new
        made += 1
    return made
