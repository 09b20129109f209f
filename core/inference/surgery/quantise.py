"""INT8: convolutions and matrix products between Quantize and Dequantize nodes, calibrated on real inputs.

Symmetric, as TensorRT wants it: weights by output channel, activations by tensor, step = greatest value / 127.
The first and the last products stay float32 (pictures lose most there), and so do the linear layers of the identity
(Gemm), which cost nothing, and all biases (TensorRT dequantises nothing but int8). onnxruntime.quantization is not
used: it copies the model several times and needs a later opset than the published files have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from core.errors import ModelError
from core.inference.runtime import open_plain
from core.inference.surgery.editor import Editor, attribute
from core.records import Float32Array

LEVELS = 127
OPSET = 13  # the first whose DequantizeLinear has an axis
PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
WATCHED = "greatest."


def products(editor: Editor) -> list[onnx.NodeProto]:
    """The nodes to quantise: Conv and MatMul with constant weights, neither first nor last on their way."""
    behind: set[str] = set()
    after_first: set[int] = set()
    for node in editor.nodes:
        if any(name in behind for name in node.input):
            after_first.add(id(node))
        if node.op_type in ("Conv", "ConvTranspose") or any(name in behind for name in node.input):
            behind.update(node.output)
    ahead: set[str] = set()
    found = []
    for node in reversed(editor.nodes):
        before_last = any(name in ahead for name in node.output)
        plain = node.op_type in ("Conv", "MatMul") and editor.is_const(node.input[1])
        if plain and before_last and id(node) in after_first:
            found.append(node)
        if before_last or node.op_type in PRODUCTS:
            ahead.update(node.input)
    return found[::-1]


def watch(editor: Editor) -> None:
    """Outputs that tell the greatest absolute value of every activation to be quantised."""
    for name in dict.fromkeys(node.input[0] for node in products(editor)):
        size = editor.make("Abs", [name], "size")
        most = helper.make_node("ReduceMax", [size.output[0]], [WATCHED + name], name=WATCHED + name, keepdims=0)
        editor.nodes += [size, most]
        editor.graph.output.append(helper.make_tensor_value_info(WATCHED + name, TensorProto.FLOAT, []))


def unwatch(editor: Editor) -> None:
    """Take `watch`'s nodes and outputs away."""
    outputs = [value for value in editor.graph.output if not value.name.startswith(WATCHED)]
    del editor.graph.output[len(outputs) :]
    editor.finish()


def measure(file: Path, inputs: Iterable[Mapping[str, Float32Array]]) -> dict[str, float]:
    """The greatest absolute value of every watched tensor over all inputs, by the watched tensor's name."""
    session = open_plain(file)
    names = [one.name for one in session.get_outputs() if one.name.startswith(WATCHED)]
    most = dict.fromkeys(names, 0.0)
    if not names:
        return {}
    count = 0
    for feeds in inputs:
        for name, value in zip(names, session.run(names, dict(feeds)), strict=True):
            most[name] = max(most[name], float(value))
        count += 1
    if not count:
        raise ModelError("nothing to calibrate with", hint="name a film with faces in it")
    return {name.removeprefix(WATCHED): value for name, value in most.items()}


def quantise(editor: Editor, greatest: Mapping[str, float]) -> int:
    """Put Quantize and Dequantize nodes around the products; returns how many. The opset becomes at least 13."""
    _need_axis(editor)
    chosen = {id(node) for node in products(editor)}
    known: dict[str, str] = {}
    made: list[onnx.NodeProto] = []
    for node in editor.nodes:
        if id(node) in chosen:
            node.input[0] = _activation(editor, node.input[0], greatest, known, made)
            node.input[1] = _weights(editor, node, known, made)
        made.append(node)
    editor.nodes = made
    return len(chosen)


def _activation(
    editor: Editor, name: str, greatest: Mapping[str, float], known: dict[str, str], made: list[onnx.NodeProto]
) -> str:
    if name not in known:
        step = editor.add_const(np.array(max(greatest[name], 1e-12) / LEVELS, np.float32), "step")
        zero = editor.add_const(np.array(0, np.int8), "zero")
        made.append(editor.make("QuantizeLinear", [name, step, zero], "int8"))
        made.append(editor.make("DequantizeLinear", [made[-1].output[0], step, zero], "float"))
        known[name] = str(made[-1].output[0])
    return known[name]


def _weights(editor: Editor, node: onnx.NodeProto, known: dict[str, str], made: list[onnx.NodeProto]) -> str:
    """int8 weights with a step for each output channel (the first axis of a Conv's, the last of a MatMul's)."""
    name = node.input[1]
    if name in known:
        return known[name]
    value = editor.const(name)
    if value is None:
        raise ModelError(f"the weights of {node.name} are not constant")
    axis = 0 if node.op_type == "Conv" else value.ndim - 1
    others = tuple(at for at in range(value.ndim) if at != axis)
    steps = (np.maximum(np.abs(value).max(others), 1e-12) / LEVELS).astype(np.float32)
    shape = [1] * value.ndim
    shape[axis] = -1
    whole: NDArray[np.int8] = np.clip(np.rint(value / steps.reshape(shape)), -LEVELS, LEVELS).astype(np.int8)
    stored = editor.add_const(whole, name)
    step = editor.add_const(steps, "step")
    zero = editor.add_const(np.zeros(len(steps), np.int8), "zero")
    made.append(editor.make("DequantizeLinear", [stored, step, zero], "float", axis=axis))
    known[name] = str(made[-1].output[0])
    return known[name]


def _need_axis(editor: Editor) -> None:
    """Restate nodes whose attributes became inputs, so that the graph may call itself opset 13."""
    if editor.opset >= OPSET:
        return
    if editor.opset < 11:
        raise ModelError(f"it is of opset {editor.opset}", hint="INT8 needs a file of opset 11 or later")
    for node in editor.nodes:
        if node.op_type in ("Squeeze", "Unsqueeze", "ReduceSum"):
            _attribute_to_input(editor, node, "axes")
        elif node.op_type == "Split":
            _attribute_to_input(editor, node, "split")
        elif node.op_type in ("Softmax", "LogSoftmax", "Hardmax"):
            _last_axis(editor, node)
    for item in editor.model.opset_import:
        if item.domain in ("", "ai.onnx"):
            item.version = OPSET


def _attribute_to_input(editor: Editor, node: onnx.NodeProto, name: str) -> None:
    value = attribute(node, name)
    if value is not None:
        node.input.append(editor.add_const(np.array(value, np.int64), name))
        kept = [item for item in node.attribute if item.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)


def _last_axis(editor: Editor, node: onnx.NodeProto) -> None:
    """Softmaxes before opset 13 work over all axes from theirs on: the same as now only along the last axis."""
    rank = len(editor.shapes.get(node.input[0], ()))
    axis = int(attribute(node, "axis", 1))
    if rank == 0 or axis % rank != rank - 1:
        raise ModelError(f"{node.op_type} {node.name} works over several axes", hint="INT8 needs a file of opset 13")
    kept = [item for item in node.attribute if item.name != "axis"]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute("axis", -1)])
