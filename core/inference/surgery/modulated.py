"""Modulated convolutions (StyleGAN2) without a kernel for each face.

Exported, the kernel of a layer is W[1,o,i,k,k] x style[n,1,i,1,1] x demodulation[n,o,1,1,1], reshaped to [n x o,i,k,k],
and the convolution has n groups, which fixes n. A convolution is linear, so the style may scale its input and the
demodulation its output: conv(x, W s d) = d conv(s x, W), for any number of faces (Karras et al. 2020, section 2.2). A
transposed convolution, whose kernel was turned to [i,o,k,k], takes the same scales.

The demodulation 1 / sqrt(sum over i, k, k of (W s)^2) needs no kernel for each face either: the sum over k, k of W^2 is
a constant [o,i], of which each face takes the sum over i with s^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from core.inference.surgery.editor import Editor, attribute

CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass
class _Kernel:
    """What a computed kernel is a product of; every factor [1,o,i,k,k] or broadcast to that, at one face."""

    constants: list[str]
    scales: list[str]
    turned: bool


def demodulate(editor: Editor) -> int:
    """Rewrite every convolution with a modulated kernel and one group, and every sum of such a kernel's squares.

    Returns how many convolutions were rewritten. Shapes must be inferred, at one face.
    """
    made_by = editor.producers()
    nodes: list[onnx.NodeProto] = []
    made = 0
    for node in editor.nodes:
        kernel = None
        if _sum_of_squares(editor, made_by, node, nodes):
            continue
        computed = node.op_type in CONVOLUTIONS and not editor.is_const(node.input[1])
        if computed and attribute(node, "group", 1) == 1:
            kernel = _kernel(editor, made_by, node.input[1])
        if kernel is None or not _rewrite(editor, node, kernel, nodes):
            nodes.append(node)
        else:
            made += 1
    editor.nodes = nodes
    return made


def _kernel(editor: Editor, made_by: dict[str, onnx.NodeProto], name: str) -> _Kernel | None:
    """The factors of the kernel `name`; None where it is not such a product."""
    turned = False
    while (node := made_by.get(name)) is not None and node.op_type in ("Reshape", "Transpose", "Squeeze"):
        if node.op_type == "Transpose":
            perm = list(attribute(node, "perm", []))
            if turned or perm not in ([0, 2, 1, 3, 4], [1, 0, 2, 3]):
                return None
            turned = True
        before, after = editor.shapes.get(node.input[0]), editor.shapes.get(name)
        # Only an axis of size 1 may come or go: the order of the kernel's numbers says what they are.
        if before is None or after is None:
            return None
        if node.op_type != "Transpose" and [s for s in before if s != 1] != [s for s in after if s != 1]:
            return None
        name = node.input[0]
    kernel = _Kernel([], [], turned)
    return kernel if _factors(editor, made_by, name, kernel) and kernel.constants and kernel.scales else None


def _factors(editor: Editor, made_by: dict[str, onnx.NodeProto], name: str, kernel: _Kernel) -> bool:
    shape = editor.shapes.get(name)
    if shape is None or not all(isinstance(size, int) for size in shape):
        return False
    if editor.is_const(name):
        kernel.constants.append(name)
        return len(shape) in (0, 1, 4, 5)
    if sum(size != 1 for size in shape) <= 1:
        kernel.scales.append(name)
        return len(shape) == 5 and shape[3:] == (1, 1)
    node = made_by.get(name)
    if node is None or node.op_type != "Mul":
        return False
    return all(_factors(editor, made_by, part, kernel) for part in node.input)


def _product_of(editor: Editor, names: list[str]) -> NDArray[np.float32]:
    """The product of constants, those of four axes being kernels [o,i,k,k]."""
    product: NDArray[np.float32] = np.array(1.0, np.float32)
    for name in names:
        value = editor.const(name)
        if value is not None:
            product = (product * (value[None] if value.ndim == 4 else value)).astype(np.float32)
    return product


def _sizes(editor: Editor, *sizes: int) -> str:
    return editor.add_const(np.array(sizes, np.int64), "sizes")


def _rewrite(editor: Editor, node: onnx.NodeProto, kernel: _Kernel, nodes: list[onnx.NodeProto]) -> bool:
    """Append the new nodes to `nodes`; False, with nothing appended, where shapes do not fit."""
    weight = _product_of(editor, kernel.constants)
    if weight.ndim != 5 or weight.shape[0] != 1:
        return False
    _, outputs, inputs, *_ = weight.shape
    before: list[str] = []
    after: list[str] = []
    for name in kernel.scales:
        shape = editor.shapes[name]
        if shape[2] == inputs and shape[1] == 1:
            before.append(name)
        elif shape[1] == outputs and shape[2] == 1:
            after.append(name)
        else:
            return False
    if inputs == 1 or outputs == 1:  # which of the two a scale belongs to cannot be read off its shape
        before, after = _by_position(editor, kernel.scales)

    made: list[onnx.NodeProto] = []

    def scaled(x: str, scale: str, count: int, output: str | None = None) -> str:
        target = _sizes(editor, 1, count, 1, 1)
        made.append(editor.make("Reshape", [scale, target], "scale"))
        editor.shapes[made[-1].output[0]] = (1, count, 1, 1)
        made.append(editor.make("Mul", [x, made[-1].output[0]], "scaled"))
        if output is not None:
            made[-1].output[0] = output
        return str(made[-1].output[0])

    x = node.input[0]
    for scale in before:
        x = scaled(x, scale, inputs)
    plain = weight[0].swapaxes(0, 1) if kernel.turned else weight[0]
    last = node.output[0] if not after else editor.new_name("plain")
    conv = onnx.NodeProto()
    conv.CopyFrom(node)
    del conv.input[:]
    del conv.output[:]
    bias = node.input[2] if len(node.input) > 2 else ""
    conv.input.extend([x, editor.add_const(plain, "kernel")])
    if bias and not after:
        conv.input.append(bias)
    conv.output.append(last)
    made.append(conv)
    for at, scale in enumerate(after):
        final = at == len(after) - 1 and not bias
        last = scaled(last, scale, outputs, node.output[0] if final else None)
    if bias and after:
        target = _sizes(editor, 1, outputs, 1, 1)
        made.append(editor.make("Reshape", [bias, target], "bias"))
        made.append(onnx.helper.make_node("Add", [last, made[-1].output[0]], list(node.output), name=node.name))
    nodes.extend(made)
    return True


def _sum_of_squares(
    editor: Editor, made_by: dict[str, onnx.NodeProto], node: onnx.NodeProto, nodes: list[onnx.NodeProto]
) -> bool:
    """Append what computes `node`, a sum of squares of W s over i, k, k, without that product; False if it is none."""
    if node.op_type != "ReduceSum" or sorted(axis % 5 for axis in editor.axes(node) or []) != [2, 3, 4]:
        return False
    square = made_by.get(node.input[0])
    if square is None or square.op_type not in ("Mul", "Pow"):
        return False
    two = editor.const(square.input[1]) if square.op_type == "Pow" else None
    if square.input[0] != square.input[1] if two is None else two.reshape(-1).tolist() != [2]:
        return False
    kernel = _Kernel([], [], turned=False)
    if not _factors(editor, made_by, square.input[0], kernel) or not kernel.constants or not kernel.scales:
        return False
    weight = _product_of(editor, kernel.constants)
    if weight.ndim != 5 or any(editor.shapes[name] != (1, 1, weight.shape[2], 1, 1) for name in kernel.scales):
        return False
    squares = editor.add_const((weight.astype(np.float64) ** 2).sum((3, 4)).astype(np.float32), "squares")
    flat = _sizes(editor, 1, 1, weight.shape[2])
    made = [editor.make("Reshape", [name, flat], "scale") for name in kernel.scales]
    scale = made[0].output[0]
    for other in made[1:]:
        made.append(editor.make("Mul", [scale, other.output[0]], "scale"))
        scale = made[-1].output[0]
    made.append(editor.make("Mul", [scale, scale], "scale"))
    made.append(editor.make("Mul", [made[-1].output[0], squares], "powers"))
    inputs, attributes = editor.axes_form("ReduceSum", [2])
    made.append(editor.make("ReduceSum", [made[-1].output[0], *inputs], "power", keepdims=0, **attributes))
    if attribute(node, "keepdims", 1):
        made.append(editor.make("Reshape", [made[-1].output[0], _sizes(editor, 1, weight.shape[1], 1, 1, 1)], "power"))
    made[-1].output[0] = node.output[0]
    nodes.extend(made)
    return True


def _by_position(editor: Editor, scales: list[str]) -> tuple[list[str], list[str]]:
    """With one channel on a side, a scale of one number belongs anywhere: to the input."""
    before = [name for name in scales if editor.shapes[name][1] == 1]
    return before, [name for name in scales if name not in before]
