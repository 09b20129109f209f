"""Chains of mean and deviation, in the forms that exporters write, become InstanceNormalization."""

from __future__ import annotations

import numpy as np
import pytest

from core.inference.surgery.adain import normalise_instances
from core.inference.surgery.editor import Editor
from tests.surgery_graphs import Small, copy, ops, run


def chain(square: str, root: str, axes: list[int], opset: int = 13) -> Small:
    graph = Small(opset)
    x = graph.input("x", [1, 3, 8, 8])

    def mean(of: str) -> str:
        if opset >= 18:
            return graph.node("ReduceMean", [of, graph.const(axes, "int64")], keepdims=1)
        return graph.node("ReduceMean", [of], axes=axes, keepdims=1)

    c = graph.node("Sub", [x, mean(x)])
    squares = graph.node("Mul", [c, c]) if square == "mul" else graph.node("Pow", [c, graph.const(2.0)])
    variance = graph.node("Add", [graph.const(1e-8), mean(squares)])
    if root == "power":
        graph.node("Mul", [graph.node("Pow", [variance, graph.const(-0.5)]), c], "y")
    elif root == "root power":
        graph.node("Div", [c, graph.node("Pow", [variance, graph.const(0.5)])], "y")
    else:
        deviation = graph.node("Sqrt", [variance])
        if root == "divide":
            graph.node("Div", [c, deviation], "y")
        elif root == "reciprocal":
            graph.node("Mul", [c, graph.node("Reciprocal", [deviation])], "y")
        else:
            graph.node("Mul", [c, graph.node("Div", [graph.const(1.0), deviation])], "y")
    graph.output("y", [1, 3, 8, 8])
    return graph


@pytest.mark.parametrize("square", ["mul", "pow"])
@pytest.mark.parametrize("root", ["divide", "reciprocal", "one over", "power", "root power"])
@pytest.mark.parametrize("opset", [11, 18])
def test_a_chain_becomes_one_node_with_the_same_numbers(square: str, root: str, opset: int) -> None:
    model = chain(square, root, [2, 3], opset).model()
    editor = Editor(copy(model))
    editor.infer()
    assert normalise_instances(editor) == 1
    made = editor.finish()
    assert ops(made) == ["InstanceNormalization"]
    x = np.random.default_rng(1).normal(3, 5, (1, 3, 8, 8)).astype(np.float32)
    assert np.abs(run(made, {"x": x})[0] - run(model, {"x": x})[0]).max() < 2e-6


def test_a_chain_over_other_axes_stays() -> None:
    editor = Editor(chain("mul", "divide", [1]).model())
    editor.infer()
    assert normalise_instances(editor) == 0


def test_a_mean_of_another_tensor_stays() -> None:
    graph = Small()
    x = graph.input("x", [1, 3, 8, 8])
    other = graph.node("Relu", [x])
    c = graph.node("Sub", [x, graph.node("ReduceMean", [other], axes=[2, 3])])
    variance = graph.node(
        "Add", [graph.node("ReduceMean", [graph.node("Mul", [c, c])], axes=[2, 3]), graph.const(1e-8)]
    )
    graph.node("Div", [c, graph.node("Sqrt", [variance])], "y")
    graph.output("y", [1, 3, 8, 8])
    editor = Editor(graph.model())
    editor.infer()
    assert normalise_instances(editor) == 0
