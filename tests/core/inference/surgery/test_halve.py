"""Mixed precision: which nodes compute in float16, and what they compute."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from core.inference.surgery.editor import Editor
from core.inference.surgery.halve import halve, widen
from tests.surgery_graphs import Small, copy, ops, run


def network() -> onnx.ModelProto:
    """Two normalised convolutions, a square, a clip without bounds, tanh and the move to 0..1."""
    graph = Small()
    x = graph.input("x", [1, 3, 8, 8])
    y = graph.node("Relu", [graph.node("Conv", [x, graph.weight(4, 3, 3, 3), graph.weight(4)], pads=[1] * 4)])
    y = graph.node("InstanceNormalization", [y, graph.const(np.ones(4)), graph.const(np.zeros(4))], epsilon=1e-8)
    y = graph.node("Clip", [graph.node("LeakyRelu", [y]), graph.const(-3.0e38), graph.const(3.0e38)])
    y = graph.node("Mul", [y, y])
    y = graph.node("Conv", [y, graph.weight(3, 4, 3, 3)], "last", pads=[1] * 4)
    y = graph.node("Add", [graph.node("Tanh", [y]), graph.const(1.0)])
    graph.node("Div", [y, graph.const(2.0)], "y")
    graph.output("y", [1, 3, 8, 8])
    return graph.model()


def types(editor: Editor) -> dict[str, int]:
    editor.infer()
    return {node.op_type + node.output[0]: editor.types[node.output[0]] for node in editor.nodes}


def test_products_are_half_and_norms_squares_and_the_end_are_not() -> None:
    model = network()
    editor = Editor(copy(model))
    assert halve(editor) == 3
    found = types(editor)
    half = {name for name, dtype in found.items() if dtype == TensorProto.FLOAT16 and not name.startswith("Cast")}
    assert half == {"ConvConv0", "ReluRelu1", "Convlast"}
    made = editor.finish()
    onnx.checker.check_model(made)
    assert [value.type.tensor_type.elem_type for value in (*made.graph.input, *made.graph.output)] == [1, 1]
    x = np.random.default_rng(2).standard_normal((1, 3, 8, 8)).astype(np.float32)
    assert 0 < np.abs(run(made, {"x": x})[0] - run(model, {"x": x})[0]).max() < 2e-3


def test_a_weight_beyond_float16_keeps_its_product_in_float32() -> None:
    graph = Small()
    x = graph.input("x", [1, 2])
    graph.node("Gemm", [x, graph.const([[1e6, 0], [0, 1]])], "y")
    graph.output("y", [1, 2])
    editor = Editor(graph.model())
    assert halve(editor) == 0
    assert ops(editor.finish()) == ["Gemm"]


def test_bounds_beyond_float16_become_the_nearest_and_shared_weights_stay_for_others() -> None:
    graph = Small()
    x = graph.input("x", [1, 2])
    weights = graph.const([[1, 2], [3, 4]])
    y = graph.node("Gemm", [x, weights])
    y = graph.node("Clip", [y, graph.const(-3e38), graph.const(3e38)])
    y = graph.node("Gemm", [y, weights])
    graph.node("Div", [y, weights], "y")
    graph.output("y", [2, 2])
    editor = Editor(graph.model())
    assert halve(editor) == 3
    made = editor.finish()
    kinds = sorted((one.data_type, one.dims[:]) for one in made.graph.initializer)
    assert kinds == [(1, [2, 2]), (10, []), (10, []), (10, [2, 2])]
    found = run(made, {"x": np.ones((1, 2), np.float32)})[0]
    assert np.allclose(found, np.array([[22, 32]]) / np.array([[1, 2], [3, 4]]))


def test_widen_undoes_a_file_in_float16() -> None:
    graph = Small()
    x = graph.input("x", [1, 2], TensorProto.FLOAT16)
    y = graph.node("MatMul", [x, graph.const([[1, 2], [3, 4]], "float16")])
    graph.node("Cast", [graph.node("Cast", [y], to=TensorProto.FLOAT)], "y", to=TensorProto.FLOAT16)
    graph.output("y", [1, 2], TensorProto.FLOAT16)
    editor = Editor(graph.model())
    assert widen(editor) == 2
    made = editor.finish()
    assert run(made, {"x": np.ones((1, 2), np.float32)})[0].tolist() == [[4, 6]]
    assert all(numpy_helper.to_array(one).dtype == np.float32 for one in made.graph.initializer)
