"""Surgery on published ONNX files: from one face to batches, and from float32 to what a device computes fastest.

Order: inputs and outputs in float32, `emap` out (inswapper), constants folded, modulated convolutions without a kernel
for each face, mean and deviation as InstanceNormalization, batch. Files published in float16 are widened
first; mixed precision and INT8 (quantise) come last.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from core.errors import ModelError
from core.inference.manifest import ModelManifest
from core.inference.surgery.adain import normalise_instances
from core.inference.surgery.batching import rebatch, set_single
from core.inference.surgery.editor import Editor
from core.inference.surgery.folding import fold
from core.inference.surgery.halve import halve, widen
from core.inference.surgery.modulated import demodulate
from core.records import Float32Array

VERSION = 2  # raise it when results change: prepared files of another version are made anew
EMAP_SHAPE = (512, 512)


@dataclass
class Operated:
    """The graph after surgery; tensors taken out of the file by name; how often each step found something to do."""

    model: onnx.ModelProto
    arrays: dict[str, Float32Array] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    editor: Editor = field(init=False)


def operate(model: onnx.ModelProto, manifest: ModelManifest, batch: int | None, *, half: bool = False) -> Operated:
    """Change `model` in place to `batch` faces, any number for None, in mixed float16 precision if `half`.

    `ModelError` names what cannot be changed.
    """
    made = Operated(model)
    if manifest.swap is not None and manifest.swap.identity == "emap":
        made.arrays["emap"] = take_emap(model.graph)
    editor = made.editor = Editor(model)
    made.steps["widened"] = widen(editor)
    set_single(editor)
    plain_types(editor)
    made.steps["folded"] = fold(editor)
    made.steps["demodulated"] = demodulate(editor)
    made.steps["normalised"] = normalise_instances(editor)
    editor.finish()  # drops what the chains left behind, so that its faces need no rule
    rebatch(editor, batch)
    editor.finish()
    if half:
        made.steps["halved"] = halve(editor)
        editor.finish()
    return made


def take_emap(graph: onnx.GraphProto) -> Float32Array:
    """The last initializer, [512,512], which maps embeddings to latents and which no node may use; out of the graph.

    insightface reads it at that place (INSwapper).
    """
    last = graph.initializer[-1] if graph.initializer else None
    used = last is not None and any(last.name in node.input for node in graph.node)
    if last is None or tuple(last.dims) != EMAP_SHAPE or used:
        raise ModelError(
            f"its last initializer is {last.name if last else 'missing'}, not the unused emap of 512 x 512",
            hint="another program has rewritten the file: use the published one",
        )
    emap = np.array(numpy_helper.to_array(last), np.float32)
    del graph.initializer[-1]
    return emap


def plain_types(editor: Editor) -> None:
    """Inputs and outputs of other real types become float32, with a Cast inside (CodeFormer's weight is float64)."""
    casts = []
    for value in editor.graph.input:
        dtype = value.type.tensor_type.elem_type
        if dtype in (TensorProto.FLOAT16, TensorProto.DOUBLE):
            cast = editor.make("Cast", [value.name], "cast", to=dtype)
            editor.replace_uses(value.name, cast.output[0])
            value.type.tensor_type.elem_type = TensorProto.FLOAT
            casts.append(cast)
    editor.nodes[:0] = casts
    for value in editor.graph.output:
        dtype = value.type.tensor_type.elem_type
        if dtype in (TensorProto.FLOAT16, TensorProto.DOUBLE):
            inner = editor.rename_output(value.name)
            editor.nodes.append(onnx.helper.make_node("Cast", [inner], [value.name], to=TensorProto.FLOAT))
            value.type.tensor_type.elem_type = TensorProto.FLOAT
