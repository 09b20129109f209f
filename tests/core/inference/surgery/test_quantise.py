"""INT8: which products are quantised, with which steps, and how near the result is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from core.errors import ModelError
from core.inference.surgery.editor import Editor
from core.inference.surgery.quantise import measure, quantise, unwatch, watch
from tests.surgery_graphs import Small, copy, ops, run


def network() -> onnx.ModelProto:
    graph = Small(11)
    x = graph.input("x", [1, 3, 16, 16])
    y = graph.node("Relu", [graph.node("Conv", [x, graph.weight(8, 3, 3, 3)], pads=[1] * 4)], "first")
    y = graph.node("Relu", [graph.node("Conv", [y, graph.weight(8, 8, 3, 3), graph.weight(8)], pads=[1] * 4)])
    y = graph.node("Unsqueeze", [graph.node("Conv", [y, graph.weight(3, 8, 3, 3)], pads=[1] * 4)], axes=[0])
    y = graph.node("Squeeze", [y], axes=[0])
    graph.node("Softmax", [y], "y", axis=3)
    graph.output("y", [1, 3, 16, 16])
    return graph.model()


def test_the_middle_is_quantised_and_the_ends_are_not(tmp_path: Path) -> None:
    model = network()
    random = np.random.default_rng(4)
    inputs = [{"x": random.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(4)]
    editor = Editor(copy(model))
    editor.infer()
    watch(editor)
    file = tmp_path / "watched.onnx"
    file.write_bytes(editor.finish().SerializeToString())
    greatest = measure(file, inputs)
    assert list(greatest) == ["first"]
    unwatch(editor)
    assert quantise(editor, greatest) == 1
    made = editor.finish()
    onnx.checker.check_model(made)
    assert ops(made).count("DequantizeLinear") == 2
    assert ops(made).count("QuantizeLinear") == 1
    values = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    quantize = next(node for node in made.graph.node if node.op_type == "QuantizeLinear")
    assert float(values[quantize.input[1]]) == pytest.approx(greatest["first"] / 127)
    weights = next(value for value in values.values() if value.dtype == np.int8 and value.ndim == 4)
    assert (np.abs(weights).reshape(8, -1).max(1) == 127).all()
    true, mine = run(model, inputs[0])[0], run(made, inputs[0])[0]
    assert 0 < np.abs(true - mine).max() < 0.02


def test_nothing_to_calibrate_with_is_said(tmp_path: Path) -> None:
    editor = Editor(network())
    editor.infer()
    watch(editor)
    file = tmp_path / "watched.onnx"
    file.write_bytes(editor.finish().SerializeToString())
    with pytest.raises(ModelError, match="nothing to calibrate with"):
        measure(file, [])


def test_a_softmax_over_several_axes_is_refused() -> None:
    model = network()
    model.graph.node[-1].attribute[0].i = 1
    editor = Editor(model)
    editor.infer()
    with pytest.raises(ModelError, match="works over several axes"):
        quantise(editor, {"first": 1.0})
