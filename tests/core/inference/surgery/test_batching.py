"""Graphs of one face as graphs of several: each face must get what it gets alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from core.errors import ModelError
from core.inference.surgery.batching import rebatch, set_single
from core.inference.surgery.editor import Editor
from core.inference.surgery.folding import fold
from core.inference.surgery.modulated import demodulate
from core.records import Float32Array
from tests.surgery_graphs import Small, copy, ops, run

FACES = 3
BATCHES = [None, FACES]


def changed(model: onnx.ModelProto, batch: int | None) -> onnx.ModelProto:
    editor = Editor(copy(model))
    set_single(editor)
    fold(editor)
    demodulate(editor)
    editor.finish()
    rebatch(editor, batch)
    made = editor.finish()
    onnx.checker.check_model(made)
    return made


def assert_each_alone(model: onnx.ModelProto, batch: int | None, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    """Run FACES faces at once and alone; returns the changed model."""
    made = changed(model, batch)
    random = np.random.default_rng(3)
    feeds = {name: random.standard_normal((FACES, *shape)).astype(np.float32) for name, shape in shapes.items()}
    together = run(made, feeds)
    alone = [run(model, {name: feed[at : at + 1] for name, feed in feeds.items()}) for at in range(FACES)]
    for number, output in enumerate(together):
        true: Float32Array = np.stack([one[number] for one in alone])
        assert len(output) == FACES
        assert np.abs(output.reshape(true.shape) - true).max() < 1e-5
    first = made.graph.output[0].type.tensor_type.shape.dim[0]
    assert (first.dim_value or first.dim_param) == (batch or "batch")
    return made


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("perm", [[2, 3, 0, 1], [0, 2, 3, 1]])
@pytest.mark.parametrize("size", ["?", 8])
def test_heads_that_flatten_the_faces_get_an_axis_for_them(batch: int | None, perm: list[int], size: int | str) -> None:
    graph = Small(11)
    x = graph.input("x", [1, 3, size, size])
    y = graph.node("Conv", [x, graph.weight(8, 3, 3, 3)], pads=[1] * 4)
    y = graph.node("Reshape", [graph.node("Transpose", [y], perm=perm), graph.const([-1, 4], "int64")])
    graph.node("Sigmoid", [y], "scores")
    graph.output("scores", [128, 4])
    made = assert_each_alone(graph.model(), batch, x=(3, 8, 8))
    assert len(made.graph.output[0].type.tensor_type.shape.dim) == 3
    assert ops(made).count("Transpose") == 1
    if size == "?":
        other = run(made, {"x": np.zeros((FACES, 3, 16, 8), np.float32)})[0]
        assert other.shape == (FACES, 16 * 8 * 2, 4)


@pytest.mark.parametrize("batch", BATCHES)
def test_attention_with_faces_and_heads_on_one_axis(batch: int | None) -> None:
    graph = Small(11)
    x = graph.input("x", [1, 16, 4, 4])
    tokens = graph.node("Transpose", [graph.node("Reshape", [x, graph.const([1, 16, 16], "int64")])], perm=[2, 0, 1])
    parts = []
    for _ in range(3):
        part = graph.node("Add", [graph.node("MatMul", [tokens, graph.weight(16, 16)]), graph.weight(16)])
        part = graph.node("Reshape", [part, graph.const([16, 4, 4], "int64")])
        parts.append(graph.node("Transpose", [part], perm=[1, 0, 2]))
    scores = graph.node("MatMul", [parts[0], graph.node("Transpose", [parts[1]], perm=[0, 2, 1])])
    y = graph.node("MatMul", [graph.node("Softmax", [scores], axis=2), parts[2]])
    y = graph.node("Reshape", [graph.node("Transpose", [y], perm=[1, 0, 2]), graph.const([16, 1, 16], "int64")])
    graph.node("Transpose", [y], "y", perm=[1, 2, 0])
    graph.output("y")
    assert_each_alone(graph.model(), batch, x=(16, 4, 4))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("demodulated", [None, False, True])
def test_modulated_convolutions_need_no_kernel_for_each_face(
    batch: int | None, turned: bool, demodulated: bool | None
) -> None:
    """`demodulated`: whether the sum of squares keeps its axes; None: there is none."""
    graph = Small(11)
    x, style = graph.input("x", [1, 4, 8, 8]), graph.input("style", [1, 4])
    scale = graph.node("Reshape", [style, graph.const([1, 1, 4, 1, 1], "int64")])
    kernel = graph.node("Mul", [graph.weight(1, 6, 4, 3, 3), scale])
    if demodulated is not None:
        square = graph.node("Mul", [kernel, kernel]) if turned else graph.node("Pow", [kernel, graph.const(2.0)])
        squares = graph.node("ReduceSum", [square], axes=[2, 3, 4], keepdims=int(demodulated))
        root = graph.node("Sqrt", [graph.node("Add", [squares, graph.const(1e-8)])])
        factor = graph.node("Div", [graph.const(1.0), root])
        kernel = graph.node("Mul", [kernel, graph.node("Reshape", [factor, graph.const([1, 6, 1, 1, 1], "int64")])])
    if turned:
        kernel = graph.node("Transpose", [kernel], perm=[0, 2, 1, 3, 4])
        kernel = graph.node("Reshape", [kernel, graph.const([4, 6, 3, 3], "int64")])
        graph.node("ConvTranspose", [x, kernel], "y", strides=[2, 2], group=1)
    else:
        kernel = graph.node("Reshape", [kernel, graph.const([6, 4, 3, 3], "int64")])
        flat = graph.node("Reshape", [x, graph.const([1, 4, 8, 8], "int64")])
        y = graph.node("Conv", [flat, kernel], pads=[1] * 4, group=1)
        graph.node("Reshape", [y, graph.const([1, 6, 8, 8], "int64")], "y")
    graph.output("y")
    made = assert_each_alone(graph.model(), batch, x=(4, 8, 8), style=(4,))
    inner = onnx.shape_inference.infer_shapes(made).graph.value_info
    sizes = [[dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in inner]
    assert [4, 3, 3] not in [one[-3:] for one in sizes]


@pytest.mark.parametrize("batch", BATCHES)
def test_one_number_a_face_meets_its_own_picture(batch: int | None) -> None:
    graph = Small(11)
    x, weight = graph.input("x", [1, 3, 3, 3]), graph.input("weight", [1])
    graph.node("Add", [x, graph.node("Mul", [weight, graph.node("Relu", [x])])], "y")
    graph.output("y")
    assert_each_alone(graph.model(), batch, x=(3, 3, 3), weight=())


@pytest.mark.parametrize("batch", BATCHES)
def test_sizes_and_constants_follow_the_faces(batch: int | None) -> None:
    graph = Small(11)
    x = graph.input("x", [1, 3, 4, 4])
    empty = graph.const([], "float32")
    y = graph.node("Resize", [x, empty, empty, graph.const([1, 3, 8, 8], "int64")], mode="nearest")
    y = graph.node("Concat", [y, graph.weight(1, 2, 8, 8)], axis=1)
    y = graph.node("Squeeze", [graph.node("ReduceMean", [y], axes=[3])], axes=[3])
    first = graph.node("Gather", [y, graph.const([0, 1], "int64")], axis=1)
    graph.node("Slice", [first, graph.const([1], "int64"), graph.const([9], "int64"), graph.const([2], "int64")], "y")
    graph.output("y")
    assert_each_alone(graph.model(), batch, x=(3, 4, 4))


@pytest.mark.parametrize("batch", BATCHES)
def test_codes_picked_by_scattering_ones(batch: int | None) -> None:
    graph = Small(11)
    x = graph.input("x", [1, 5, 8])
    index = graph.node("ArgMax", [graph.node("Reshape", [x, graph.const([-1, 8], "int64")])], axis=1)
    zeros, ones = graph.const(np.zeros((5, 8))), graph.const(np.ones((5, 1)))
    hot = graph.node("ScatterElements", [zeros, index, ones], axis=1)
    y = graph.node("MatMul", [hot, graph.weight(8, 6)])
    graph.node("Reshape", [y, graph.const([1, 5, 6], "int64")], "y")
    graph.output("y")
    assert_each_alone(graph.model(), batch, x=(5, 8))


def test_a_published_batch_is_replaced() -> None:
    graph = Small(11)
    x = graph.input("x", ["None", 3, 4, 4])
    graph.node("Gemm", [graph.node("Flatten", [x]), graph.weight(48, 5)], "y")
    graph.output("y", [1, 5])
    assert_each_alone(graph.model(), FACES, x=(3, 4, 4))


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("ReduceMean", {"axes": [0, 1]}, "ReduceMean over the axis of faces"),
        ("Softmax", {"axis": 0}, "Softmax over the axis of faces"),
        ("Split", {"axis": 0}, "Split parts the faces"),
        ("NonZero", {}, "no rule for NonZero of several faces"),
    ],
)
def test_what_mixes_faces_is_refused_by_name(op: str, attributes: dict[str, object], message: str) -> None:
    graph = Small(11)
    x = graph.input("x", [1, 3, 4, 4])
    y = graph.node(op, [x], "mixed", **attributes)
    y = graph.node("Cast", [y], to=TensorProto.FLOAT)
    graph.node("Relu", [y], "y")
    graph.output("y")
    with pytest.raises(ModelError, match=message) as caught:
        changed(graph.model(), 4)
    assert caught.value.where == "node /mixed"
    assert "--batch 1" in caught.value.hint


def test_what_mixes_faces_serves_one() -> None:
    graph = Small(11)
    x = graph.input("x", [1, 3, 4, 4])
    mean = graph.node("ReduceMean", [graph.node("Softmax", [x], axis=0)], axes=[0, 2], keepdims=0)
    graph.node("Relu", [graph.node("Reshape", [mean, graph.const([3, 4], "int64")])], "y")
    graph.output("y")
    model = graph.model()
    made = changed(model, 1)
    data = np.random.default_rng(1).standard_normal((1, 3, 4, 4)).astype(np.float32)
    assert np.array_equal(run(made, {"x": data})[0], run(model, {"x": data})[0][None])
