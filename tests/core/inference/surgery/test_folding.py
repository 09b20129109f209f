"""Chains of constants and known shapes become initializers, and nothing else does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from core.errors import ModelError
from core.inference.surgery.editor import Editor
from core.inference.surgery.folding import fold
from tests.surgery_graphs import Small, copy, ops, run


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    editor = Editor(copy(model))
    fold(editor)
    return editor.finish()


def test_a_pad_vector_built_from_shapes_becomes_one_constant() -> None:
    graph = Small(11)
    x = graph.input("x", [1, 2, 4, 4])
    zeros = graph.node(
        "ConstantOfShape", [graph.const([4], "int64")], value=onnx.numpy_helper.from_array(np.zeros(1, np.int64))
    )
    pads = graph.node("Concat", [graph.const([1, 1, 1, 1], "int64"), zeros], axis=0)
    table = graph.node("Reshape", [pads, graph.const([-1, 2], "int64")])
    turned = graph.node("Transpose", [table], perm=[1, 0])
    flat = graph.node("Cast", [graph.node("Reshape", [turned, graph.const([-1], "int64")])], to=7)
    graph.node("Pad", [x, flat], "y", mode="constant")
    graph.output("y")
    model = graph.model()
    result = folded(model)
    assert ops(result) == ["Pad"]
    assert [list(onnx.numpy_helper.to_array(one)) for one in result.graph.initializer] == [[1, 1, 0, 0, 1, 1, 0, 0]]
    feeds = {"x": np.ones((1, 2, 4, 4), np.float32)}
    assert np.array_equal(run(result, feeds)[0], run(model, feeds)[0])


def test_shapes_behind_shapes_are_found_round_by_round() -> None:
    graph = Small(11)
    x = graph.input("x", [1, 4, 2, 2])
    for _ in range(12):
        flat = graph.node("Reshape", [x, graph.const([0, 2, -1], "int64")])
        x = graph.node("Relu", [graph.node("Reshape", [flat, graph.node("Shape", [x])])])
    graph.node("Neg", [x], "y")
    graph.output("y")
    assert "Shape" not in ops(folded(graph.model()))


def test_sizes_that_are_not_known_stay_computed() -> None:
    graph = Small(11)
    x = graph.input("x", [1, 2, "h", "w"])
    graph.node("Reshape", [x, graph.node("Shape", [x])], "y")
    graph.output("y")
    assert ops(folded(graph.model())) == ["Shape", "Reshape"]


def test_constants_are_not_blown_up() -> None:
    graph = Small(13)
    x = graph.input("x", [1, 1, 512, 512])
    wide = graph.node("Expand", [graph.const(np.ones((1, 1, 1, 1))), graph.const([1, 1, 512, 512], "int64")])
    graph.node("Add", [x, wide], "y")
    graph.output("y")
    assert ops(folded(graph.model())) == ["Expand", "Add"]


def test_identities_and_casts_to_the_same_type_go() -> None:
    graph = Small(13)
    x = graph.node("Cast", [graph.node("Identity", [graph.input("x", [1, 4])])], to=1)
    graph.node("Relu", [x], "y")
    graph.output("y")
    assert ops(folded(graph.model())) == ["Relu"]


def test_constants_that_do_not_fit_are_named() -> None:
    graph = Small(13)
    x = graph.input("x", [1, 4])
    wrong = graph.node("Gather", [graph.const([1, 2], "int64"), graph.const(7, "int64")])
    graph.node("Reshape", [x, graph.node("Unsqueeze", [wrong, graph.const([0], "int64")])], "y")
    graph.output("y")
    with pytest.raises(ModelError, match="Gather /Gather0 of constants cannot be computed"):
        folded(graph.model())
