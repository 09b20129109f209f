"""Rebatching: a graph of one face becomes one of N faces, N fixed or free.

The published files state one face, and their exporters wrote that 1 into Reshapes, sizes and constants. The faces' axis
is followed from the inputs through every node; where a node states the 1, it is changed. Reshapes of constants (the pad
vectors of inswapper) do not carry faces and stay as they are. Outputs get the faces as their first axis: SCRFD's heads,
which flatten [1,h,w,C] to [h x w x 2, c], give [N, h x w x 2, c].

Graphs that mix faces in a way that no axis can hold are refused, never guessed; for one face they stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from core.errors import ModelError
from core.inference.surgery import carry
from core.inference.surgery.editor import Editor, Shape, attribute, set_attribute
from core.inference.surgery.operators import BROADCAST, UNARY
from core.inference.surgery.places import Place, through_reshape

HINT = "it can be used one face at a time: --batch 1"


class Rebatcher:
    """Walks the graph once. `out` is the new list of nodes."""

    def __init__(self, editor: Editor, batch: int | None) -> None:
        self.editor = editor
        self.batch = batch
        self.places: dict[str, Place] = {}
        self.lifted: set[str] = set()  # tensors that got the faces as an axis of their own
        self.out: list[onnx.NodeProto] = []
        self._source = ""  # an input, for the number of faces at run time
        self._count = ""  # int64 [1]

    def run(self) -> None:
        editor = self.editor
        editor.infer()
        for name in editor.inputs:
            if not self.shape(name):
                raise ModelError(f"input {name} has no axis for faces", hint=HINT)
            self.places[name] = Place(0)
            self._source = self._source or name
        self._consumers = editor.consumers()
        self._producers = editor.producers()
        for node in editor.nodes:
            if any(name in self.places for name in node.input):
                try:
                    self._node(node)
                except ModelError as error:
                    if self.batch == 1:  # nothing that was changed so far makes a difference to one face
                        self.out += [] if self.out and self.out[-1] is node else [node]
                        continue
                    raise ModelError(error.what, where=f"node {node.name or node.output[0]}", hint=HINT) from error
            else:
                self.out.append(node)
        editor.nodes = self.out
        self._outputs()
        self._declare()

    # What the rules for operators (core.inference.surgery.carry) use

    def shape(self, name: str) -> Shape:
        """Sizes at batch 1; `ModelError` where not even the rank is known."""
        found = self.editor.shapes.get(name)
        if found is None:
            raise ModelError(f"the shape of {name} is not known")
        return found

    def rank(self, name: str) -> int:
        return len(self.shape(name))

    def emit(self, op: str, inputs: Sequence[str], hint: str, **attributes: Any) -> str:
        """A further node before the current one; its output."""
        made = self.editor.make(op, inputs, hint, **attributes)
        self.out.append(made)
        return str(made.output[0])

    def vector(self, values: Sequence[int]) -> str:
        return self.editor.add_const(np.array(values, np.int64), "sizes")

    def count(self) -> str:
        """The number of faces as int64 [1], for graphs that leave it open."""
        if not self._count:
            shape = self.emit("Shape", [self._source], "shape")
            self._count = self.emit("Slice", [shape, self.vector([0]), self.vector([1])], "faces")
        return self._count

    def sizes(self, sizes: Sequence[int], place: Place) -> str:
        """An int64 vector of sizes at batch 1 in which the faces' axis is multiplied by their number.

        One of `sizes` may be -1, what is left; 0 copies the input's size. For Reshape.
        """
        if self.batch is None and -1 not in sizes and 0 not in sizes:
            return self.vector([*sizes[: place.axis], -1, *sizes[place.axis + 1 :]])
        return self.counted(sizes, place)

    def counted(self, sizes: Sequence[int], place: Place) -> str:
        """The same, with the number itself, for operators other than Reshape."""
        size = sizes[place.axis]
        if self.batch is not None:
            return self.vector([*sizes[: place.axis], size * self.batch, *sizes[place.axis + 1 :]])
        many = self.count() if size == 1 else self.emit("Mul", [self.count(), self.vector([size])], "faces")
        parts = [self.vector(part) if part else "" for part in (sizes[: place.axis], sizes[place.axis + 1 :])]
        return self.emit("Concat", [part for part in (parts[0], many, parts[1]) if part], "sizes", axis=0)

    def stretched(self, name: str, place: Place, size: int = 1) -> str:
        """The tensor `name`, that does not depend on faces, repeated for each of them along `place`.

        `size` is what the faces' axis counts of one face. `ModelError` where the tensor is not the same all along it.
        """
        shape = self.shape(name)
        if shape[place.axis] != 1:
            value = self.editor.const(name)
            if value is None or value.shape[place.axis] != size or np.ptp(value, axis=place.axis).any():
                raise ModelError(f"{name} has {shape[place.axis]} items where faces are counted")
            name = self.editor.add_const(value.take([0], place.axis), name)
        # Expand broadcasts: sizes of 1 stay those of the tensor.
        target = [1] * len(shape)
        target[place.axis] = size
        return self.emit("Expand", [name, self.counted(target, place)], "each")

    # One node

    def _node(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Reshape":
            place: Place | None = self._reshape(node)
        elif node.op_type == "Flatten":
            place = through_reshape(
                self.shape(node.input[0]), self.places[node.input[0]], self.shape(node.output[0]), None
            )
            if place is None:
                raise ModelError("Flatten mixes faces")
        else:
            rule = carry.rules().get(node.op_type)
            if rule is None:
                raise ModelError(f"no rule for {node.op_type} of several faces")
            place = rule(self, node)
        self.out.append(node)
        if place is not None:
            for name in node.output:
                if name:
                    self.places[name] = place
                    self._complete(node, name, place)
        if place is not None and any(name in self.lifted for name in node.input):
            self._stay_lifted(node)

    def _complete(self, node: onnx.NodeProto, output: str, place: Place) -> None:
        """The size of the faces' axis, where inference lost it (behind a Resize to computed sizes)."""
        shape = self.shape(output)
        if isinstance(shape[place.axis], int) or node.op_type in ("Reshape", "Flatten"):
            return
        source = next(name for name in node.input if name in self.places)
        size = self.shape(source)[self.places[source].axis]
        self.editor.shapes[output] = (*shape[: place.axis], size, *shape[place.axis + 1 :])

    def _stay_lifted(self, node: onnx.NodeProto) -> None:
        """Shapes behind a tensor that has one axis more than inferred."""
        if node.op_type not in UNARY and node.op_type not in BROADCAST:
            raise ModelError(f"{node.op_type} after a Reshape that flattened the faces")
        longest = max((name for name in node.input if name in self.lifted), key=self.rank)
        for name in node.output:
            self.editor.shapes[name] = self.shape(longest)
            self.lifted.add(name)

    def _reshape(self, node: onnx.NodeProto) -> Place | None:
        data = node.input[0]
        if data not in self.places:  # constants, reshaped to sizes that were computed from Shape
            return None
        place, before, after = self.places[data], self.shape(data), self.shape(node.output[0])
        target = self.editor.const(node.input[1])
        stated = None if target is None else [int(size) for size in target]
        if stated is not None:
            known = [
                size if isinstance(size, int) or said < 1 else said for size, said in zip(after, stated, strict=True)
            ]
            after = self.editor.shapes[node.output[0]] = tuple(known)
        if self._flattens(node, after):
            return self._lift(node, place, before, stated)
        free = stated.index(-1) if stated and -1 in stated else None
        found = through_reshape(before, place, after, free)
        if found is None:
            raise ModelError(f"Reshape of {list(before)} to {list(after)} mixes faces")
        if target is None:
            return self._reshape_computed(node, place, found, before, after)
        sizes = [size if isinstance(size, int) else stated[at] if stated else -1 for at, size in enumerate(after)]
        if sum(size == -1 for size in sizes) > 1 or sizes[found.axis] == -1:
            raise ModelError(f"Reshape to {list(after)} has more than one size that is not known")
        if attribute(node, "allowzero"):
            set_attribute(node, "allowzero", 0)
        node.input[1] = self.sizes(sizes, found)
        return found

    def _reshape_computed(
        self, node: onnx.NodeProto, place: Place, found: Place, before: Shape, after: Shape
    ) -> Place | None:
        """A target computed from other sizes: the faces' axis stays, the rest is as computed."""
        if before[place.axis] != 1 or after[found.axis] != 1 or place.axis != found.axis:
            raise ModelError("a computed Reshape moves the faces")
        at = found.axis
        big = self.vector([np.iinfo(np.int64).max])
        parts = [self.vector([0])]
        if at:
            parts.insert(0, self.emit("Slice", [node.input[1], self.vector([0]), self.vector([at])], "sizes"))
        if at + 1 < len(after):
            parts.append(self.emit("Slice", [node.input[1], self.vector([at + 1]), big], "sizes"))
        node.input[1] = self.emit("Concat", parts, "sizes", axis=0)
        return found

    def _flattens(self, node: onnx.NodeProto, after: Shape) -> bool:
        """A Reshape to rows [anything, c] that go straight to an output of the graph."""
        if len(after) != 2 or after[0] == 1:
            return False
        name = node.output[0]
        while name not in self.editor.outputs:
            readers = self._consumers.get(name, [])
            if len(readers) != 1 or readers[0].op_type not in UNARY:
                return False
            name = readers[0].output[0]
        return True

    def _lift(self, node: onnx.NodeProto, place: Place, before: Shape, stated: list[int] | None) -> Place:
        """The faces to the front, and as an axis of their own behind the Reshape."""
        if before[place.axis] != 1 or stated is None or 0 in stated:
            raise ModelError("a Reshape flattens faces together with other things")
        data = node.input[0]
        if place.axis != 0:
            order = [place.axis, *(axis for axis in range(len(before)) if axis != place.axis)]
            source = self._producers.get(data)
            if source is not None and source.op_type == "Transpose" and len(self._consumers[data]) == 1:
                first = attribute(source, "perm", list(reversed(range(len(before)))))
                data, order = source.input[0], [int(first[axis]) for axis in order]
            data = self.emit("Transpose", [data], "cells", perm=order)
        node.input[0] = data
        # Rows that one picture size was exported with are not stated again: they follow the input.
        sizes = [0 if self.batch is None else self.batch, -1, stated[1]]
        node.input[1] = self.vector(sizes)
        self.lifted.add(node.output[0])
        rows = self.shape(node.output[0])
        self.editor.shapes[node.output[0]] = (1, *rows)
        return Place(0)

    # The ends

    def _outputs(self) -> None:
        """The faces become the first axis of every output."""
        self.out = self.editor.nodes
        for name in list(self.editor.outputs):
            shape = self.shape(name)
            if name not in self.places:
                self._lead(name, shape)
                continue
            place = self.places[name]
            if place == Place(0) and shape[0] == 1:
                continue
            inner = self.editor.rename_output(name)
            if shape[place.axis] != 1:
                inner, place, shape = self._split(inner, place, shape)
            if place.axis == 0:
                self.out.append(onnx.helper.make_node("Identity", [inner], [name], name=name))
            else:
                order = [place.axis, *(axis for axis in range(len(shape)) if axis != place.axis)]
                self.out.append(onnx.helper.make_node("Transpose", [inner], [name], name=name, perm=order))
                shape = tuple(shape[axis] for axis in order)
            self.editor.shapes[name] = shape

    def _lead(self, name: str, shape: Shape) -> None:
        """One face as the first axis of an output through which faces could not be followed."""
        if self.batch != 1:
            raise ModelError(f"output {name} does not depend on an input", hint=HINT)
        if not shape or shape[0] != 1:
            inner = self.editor.rename_output(name)
            axes, attributes = self.editor.axes_form("Unsqueeze", [0])
            self.out.append(onnx.helper.make_node("Unsqueeze", [inner, *axes], [name], name=name, **attributes))
            self.editor.shapes[name] = (1, *shape)

    def _split(self, inner: str, place: Place, shape: Shape) -> tuple[str, Place, Shape]:
        """The faces' axis parted from what it counts besides."""
        size = shape[place.axis]
        if not isinstance(size, int) or not all(isinstance(one, int) for one in shape):
            raise ModelError("an output counts faces together with other things", hint=HINT)
        known = [int(one) for one in shape if isinstance(one, int)]
        parted = [*known[: place.axis], place.major, 1, size // place.major, *known[place.axis + 1 :]]
        split = self.emit("Reshape", [inner, self.sizes(parted, Place(place.axis + 1))], "parted")
        order = [place.axis + 1, *(axis for axis in range(len(parted)) if axis != place.axis + 1)]
        moved = self.emit("Transpose", [split], "faces", perm=order)
        joined = (1, *known)
        return self.emit("Reshape", [moved, self.sizes(list(joined), Place(0))], "joined"), Place(0), joined

    def _declare(self) -> None:
        """Inputs and outputs state the new batch."""
        graph = self.editor.graph
        for kind, values in (("in", graph.input), ("out", graph.output)):
            for value in values:
                shape = self.shape(value.name)
                tensor = value.type.tensor_type
                tensor.elem_type = tensor.elem_type or TensorProto.FLOAT
                tensor.ClearField("shape")
                for axis, size in enumerate(shape):
                    dim = tensor.shape.dim.add()
                    if axis == 0 and self.batch is not None:
                        dim.dim_value = self.batch
                    elif axis == 0:
                        dim.dim_param = "batch"
                    elif isinstance(size, int):
                        dim.dim_value = size
                    else:
                        dim.dim_param = size if size and kind == "in" else f"{value.name}_{axis}"


def set_single(editor: Editor) -> None:
    """State one face in every input, whatever the file states, so that sizes can be known.

    Other sizes that the file leaves open keep their names, or get one.
    """
    for value in editor.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis == 0:
                dim.dim_value = 1
            elif not dim.HasField("dim_value") or dim.dim_value < 1:
                dim.dim_param = f"{value.name}_{axis}"


def rebatch(editor: Editor, batch: int | None) -> None:
    """Change the graph, whose sizes are those of one face, to `batch` faces, or to any number (None).

    `ModelError` names the node that cannot be given several faces.
    """
    Rebatcher(editor, batch).run()
