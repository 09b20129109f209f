"""Modulated convolutions (StyleGAN2) without a kernel for each face.

Exported, the kernel of a layer is W[1,o,i,k,k] x style[n,1,i,1,1] x demodulation[n,o,1,1,1], reshaped to [n x o,i,k,k],
and the convolution has n groups, which fixes n. A convolution is linear, so the style may scale its input and the
demodulation its output: conv(x, W s d) = d conv(s x, W), for any number of faces (Karras et al. 2020, section 2.2). A
transposed convolution, whose kernel was turned to [i,o,k,k], takes the same scales.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from core.inference.surgery.editor import Editor, attribute

CONVOLUTIONS = ("Conv", "ConvTranspose")


@dataclass
class _Kernel:
    """What a computed kernel is a product of; every factor [1,o,i,k,k] or broadcast to that, at one face."""

    constants: list[str]
    scales: list[str]
    turned: bool


def demodulate(editor: Editor) -> int:
    """Rewrite every convolution with a modulated kernel and one group; returns how many."""
    made_by = editor.producers()
    nodes: list[onnx.NodeProto] = []
    made = 0
    for node in editor.nodes:
        kernel = None
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


def _rewrite(editor: Editor, node: onnx.NodeProto, kernel: _Kernel, nodes: list[onnx.NodeProto]) -> bool:
    """Append the new nodes to `nodes`; False, with nothing appended, where shapes do not fit."""
    values = [editor.const(name) for name in kernel.constants]
    weight = np.array(1.0, np.float32)
    for value in values:
        if value is not None:
            weight = (weight * (value[None] if value.ndim == 4 else value)).astype(value.dtype)
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
        target = editor.add_const(np.array([1, count, 1, 1], np.int64), "channels")
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
        target = editor.add_const(np.array([1, outputs, 1, 1], np.int64), "channels")
        made.append(editor.make("Reshape", [bias, target], "bias"))
        made.append(onnx.helper.make_node("Add", [last, made[-1].output[0]], list(node.output), name=node.name))
    nodes.extend(made)
    return True


def _by_position(editor: Editor, scales: list[str]) -> tuple[list[str], list[str]]:
    """With one channel on a side, a scale of one number belongs anywhere: to the input."""
    before = [name for name in scales if editor.shapes[name][1] == 1]
    return before, [name for name in scales if name not in before]
