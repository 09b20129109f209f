"""Constant folding: what depends on constants and known shapes alone becomes an initializer.

Exporters write pads, shapes and sizes as chains of Shape, Gather, Concat, Reshape and Cast. Folded, they no longer stop
a runtime from fusing and TensorRT from parsing, and the Reshape targets can be read. The batch of the published file is
folded in with them; `rebatch` takes it out again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from core.errors import ModelError
from core.inference.surgery.editor import Editor, attribute

# a chain may not turn small constants into a large one: a picture of zeros stays an Expand
GROWTH = 1 << 16
# what a constant input makes no constant of
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}
)
# operators with a graph inside are left to the runtime
NESTED = frozenset({"If", "Loop", "Scan"})


def fold(editor: Editor) -> int:
    """Fold until nothing changes; returns how many nodes went. Identities and dropouts go too."""
    before = len(editor.nodes)
    count = before + 1
    while len(editor.nodes) < count:  # a shape that becomes known in one round makes others known in the next
        count = len(editor.nodes)
        editor.infer()
        _forward(editor)
        _bypass(editor)
    return before - len(editor.nodes)


def _forward(editor: Editor) -> None:
    kept = []
    for node in editor.nodes:
        if not (_known_shape(editor, node) or _computed(editor, node)):
            kept.append(node)
    editor.nodes = kept


def _known_shape(editor: Editor, node: onnx.NodeProto) -> bool:
    """Shape and Size of a tensor whose sizes are all known."""
    if node.op_type not in ("Shape", "Size"):
        return False
    shape = editor.shapes.get(node.input[0])
    if shape is None or any(not isinstance(size, int) for size in shape):
        return False
    sizes = np.array(shape, np.int64)
    if node.op_type == "Shape":
        start, end = int(attribute(node, "start", 0)), attribute(node, "end")
        _become(editor, node.output[0], sizes[start:] if end is None else sizes[start : int(end)])
    else:
        _become(editor, node.output[0], np.array(sizes.prod(), np.int64))
    return True


def _computed(editor: Editor, node: onnx.NodeProto) -> bool:
    """A node of constants, run by the onnx package's reference implementation."""
    names = [name for name in node.input if name]
    if not names or node.op_type in RANDOM or node.op_type in NESTED or not all(map(editor.is_const, names)):
        return False
    if any(name in editor.outputs for name in node.output):
        return False
    sizes = [int(np.prod(editor.const_shape(name) or ())) for name in names]
    for name in node.output:
        shape = editor.shapes.get(name)
        if shape is None or any(not isinstance(size, int) for size in shape):
            if max(sizes) > GROWTH:
                return False
        elif int(np.prod([int(size or 0) for size in shape])) > max(GROWTH, *sizes):
            return False
    graph = helper.make_graph(
        [node],
        "fold",
        [onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names)],
        [onnx.ValueInfoProto(name=name) for name in node.output if name],
    )
    model = helper.make_model(graph, opset_imports=list(editor.model.opset_import), ir_version=editor.model.ir_version)
    try:
        values = ReferenceEvaluator(model).run(None, {name: editor.const(name) for name in names})
    except Exception as error:  # the reference implementation raises whatever NumPy and Python do
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{node.op_type} {node.name} of constants cannot be computed: {reason}") from error
    for name, value in zip([name for name in node.output if name], values, strict=True):
        array = np.asarray(value)
        if array.size > max(GROWTH, *sizes):
            return False
        _become(editor, name, array)
    return True


def _become(editor: Editor, name: str, value: NDArray[Any]) -> None:
    editor.replace_uses(name, editor.add_const(value, name))


def _bypass(editor: Editor) -> None:
    """Identity, inference Dropout and casts to the type a tensor has already."""
    kept = []
    for node in editor.nodes:
        same_type = node.op_type == "Cast" and editor.types.get(node.input[0]) == attribute(node, "to")
        idle = node.op_type == "Identity" or (node.op_type == "Dropout" and len([n for n in node.output if n]) == 1)
        if (idle or same_type) and node.output[0] not in editor.outputs:
            editor.replace_uses(node.output[0], node.input[0])
        else:
            kept.append(node)
    editor.nodes = kept
