"""Explicit mixed precision: convolutions and matrix products in float16, what is sensitive in float32.

The file itself says where it casts, so that TensorRT 10 and 11, CUDA and the CPU compute the same network. Norms,
reductions, roots, exponentials and divisions stay in float32, as does everything behind the last product (tanh, range,
blending with a mask); whatever only moves or joins numbers follows its input. Inputs and outputs stay float32.

`widen` is the way back, for files that are published in float16.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from core.inference.surgery.editor import Editor, attribute, set_attribute

PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Operators that may compute in float16, if what they read is that: (inputs that are the numbers, None for all).
FOLLOWERS: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Min", "Max", "Sum", "Concat", "PRelu", "Where"), None),
    **dict.fromkeys(("Relu", "LeakyRelu", "Clip", "Neg", "Abs", "HardSigmoid", "HardSwish", "Identity"), None),
    **dict.fromkeys(("MaxPool", "AveragePool", "Transpose", "Flatten", "DepthToSpace", "SpaceToDepth"), None),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Gather", "Expand", "Tile", "Resize"), (0,)),
    "Pad": (0, 2),
}
HALF_MAX = float(np.finfo(np.float16).max)


def halve(editor: Editor) -> int:
    """Put Casts around every run of products; returns how many nodes compute in float16 now."""
    editor.infer()
    ahead = _before_products(editor)
    half: dict[str, str] = {}  # float32 tensor -> the same in float16
    full: dict[str, str] = {}  # float16 tensor -> the same in float32
    made: list[onnx.NodeProto] = []
    small: set[str] = set()  # tensors that are float16 now
    weights: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    count = 0
    for node in editor.nodes:
        places = _numbers(editor, node)
        if _halves(editor, node, places, small, ahead):
            count += 1
            for at in places:
                name = node.input[at]
                if editor.is_const(name):
                    weights.setdefault(name, []).append((node, at))
                elif name not in small:
                    node.input[at] = _cast(editor, name, TensorProto.FLOAT16, half, made)
            small.update(name for name in node.output if name and editor.types.get(name) == TensorProto.FLOAT)
        else:
            for at, name in enumerate(node.input):
                if name in small:
                    node.input[at] = _cast(editor, name, TensorProto.FLOAT, full, made)
        made.append(node)
    editor.nodes = made
    _halve_constants(editor, weights)
    _widen_outputs(editor, small)
    return count


def widen(editor: Editor) -> int:
    """Everything in float16 becomes float32; returns how many tensors and casts did."""
    count = 0
    for name in editor.consts():
        value = editor.const(name)
        if value is not None and value.dtype == np.float16:
            editor.replace_const(name, value.astype(np.float32))
            count += 1
    for node in editor.nodes:
        if node.op_type == "Cast" and attribute(node, "to") == TensorProto.FLOAT16:
            set_attribute(node, "to", TensorProto.FLOAT)
            count += 1
        for item in node.attribute:
            if item.HasField("t") and item.t.data_type == TensorProto.FLOAT16:
                value = onnx.numpy_helper.to_array(item.t).astype(np.float32)
                item.t.CopyFrom(onnx.numpy_helper.from_array(value, item.t.name))
                count += 1
    for declared in (*editor.graph.input, *editor.graph.output):
        if declared.type.tensor_type.elem_type == TensorProto.FLOAT16:
            declared.type.tensor_type.elem_type = TensorProto.FLOAT
    return count


def _before_products(editor: Editor) -> set[int]:
    """Which nodes (by their index) a product depends on, or are one."""
    wanted: set[str] = set()
    found: set[int] = set()
    for at in reversed(range(len(editor.nodes))):
        node = editor.nodes[at]
        if node.op_type in PRODUCTS or wanted & set(node.output):
            wanted.update(node.input)
            found.add(id(node))
    return found


def _numbers(editor: Editor, node: onnx.NodeProto) -> list[int]:
    """The inputs of `node` that hold its real numbers, as far as they are float32."""
    stated = FOLLOWERS.get(node.op_type)
    places = range(len(node.input)) if stated is None else stated
    return [at for at in places if at < len(node.input) and editor.types.get(node.input[at]) == TensorProto.FLOAT]


def _halves(editor: Editor, node: onnx.NodeProto, places: list[int], small: set[str], ahead: set[int]) -> bool:
    """Whether `node` is to compute in float16."""
    if node.op_type in PRODUCTS:
        return all(_fits(editor.const(node.input[at])) for at in places)
    if node.op_type not in FOLLOWERS or id(node) not in ahead:
        return False
    squares = node.op_type == "Mul" and node.input[0] == node.input[1]  # passes 65504 from 255.9 on
    return not squares and any(node.input[at] in small for at in places)


def _fits(value: NDArray[np.float32] | None) -> bool:
    return value is None or value.size == 0 or float(np.abs(value).max()) <= HALF_MAX


def _cast(editor: Editor, name: str, to: int, known: dict[str, str], made: list[onnx.NodeProto]) -> str:
    if name not in known:
        made.append(editor.make("Cast", [name], "half" if to == TensorProto.FLOAT16 else "full", to=to))
        known[name] = str(made[-1].output[0])
    return known[name]


def _halve_constants(editor: Editor, weights: dict[str, list[tuple[onnx.NodeProto, int]]]) -> None:
    """Constants in float16 for those who asked; in place where nobody reads them as float32."""
    uses: dict[str, int] = {}
    for node in editor.nodes:
        for name in node.input:
            uses[name] = uses.get(name, 0) + 1
    for name, readers in weights.items():
        value = editor.const(name)
        if value is None:
            continue
        # Bounds of a Clip and masks such as -1e9 lie beyond float16; the nearest number does the same there.
        with np.errstate(over="ignore"):
            small = np.clip(value, -HALF_MAX, HALF_MAX).astype(np.float16)
        if uses[name] == len(readers):
            editor.replace_const(name, small)
        else:
            other = editor.add_const(small, name)
            for node, at in readers:
                node.input[at] = other


def _widen_outputs(editor: Editor, small: set[str]) -> None:
    for name in editor.outputs:
        if name not in small:
            continue
        inner = editor.rename_output(name)
        editor.nodes.append(helper.make_node("Cast", [inner], [name], name=name, to=TensorProto.FLOAT))
