"""How each operator carries faces: for every node that reads a tensor with faces, where they are in its outputs.

A rule gets the walk (`Rebatcher`) and the node, may change what the node states, and returns the place of the faces in
its outputs, or None where the outputs do not depend on them (Shape).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import onnx

from core.errors import ModelError
from core.inference.surgery.editor import attribute
from core.inference.surgery.operators import ALONG_AXIS, BROADCAST, PICTURES, REDUCE, UNARY
from core.inference.surgery.places import Place, common

if TYPE_CHECKING:
    from core.inference.surgery.batching import Rebatcher

Rule = Callable[["Rebatcher", onnx.NodeProto], Place | None]


def rules() -> dict[str, Rule]:
    """The rule of each operator that is not a Reshape."""
    special: dict[str, Rule] = {
        "Conv": _conv,
        "ConvTranspose": _conv,
        "Gemm": _gemm,
        "MatMul": _matmul,
        "Pad": _pad,
        "Resize": _resize,
        "Upsample": _same,
        "GridSample": _grid_sample,
        "Transpose": _transpose,
        "Concat": _concat,
        "Split": _split,
        "Slice": _slice,
        "Gather": _gather,
        "Squeeze": _squeeze,
        "Unsqueeze": _unsqueeze,
        "Expand": _expand,
        "Tile": _tile,
        "ArgMax": _arg,
        "ArgMin": _arg,
        "OneHot": _one_hot,
        "ScatterElements": _scatter,
        "Einsum": _einsum,
        "Shape": _shape,
        "Size": _shape,
    }
    return {
        **dict.fromkeys(UNARY, _same),
        **dict.fromkeys(BROADCAST, _broadcast),
        **dict.fromkeys(PICTURES, _pictures),
        **dict.fromkeys(REDUCE, _reduce),
        **dict.fromkeys(ALONG_AXIS, _along_axis),
        **special,
    }


def _same(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    return _of(walk, node, 0)


def _of(walk: Rebatcher, node: onnx.NodeProto, at: int) -> Place:
    """The faces' place in input `at`, which must be the only input that has them."""
    wrong = [name for other, name in enumerate(node.input) if other != at and name in walk.places]
    if wrong or node.input[at] not in walk.places:
        raise ModelError(f"{node.op_type} reads faces where its parameters are")
    return walk.places[node.input[at]]


def _shape(walk: Rebatcher, node: onnx.NodeProto) -> None:
    del walk, node  # sizes are read at run time, when the faces are there


def _broadcast(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    batched = [name for name in node.input if name in walk.places]
    widest = max(batched, key=walk.rank)
    for at, name in enumerate(node.input):
        if name in walk.places and name != widest and _one_each(walk, name):
            _align(walk, node, at, widest)
    found = [(walk.rank(name), walk.places[name]) for name in node.input if name in walk.places]
    right, major = common(found, node.op_type)
    rank = max(walk.rank(name) for name in node.input if name)
    for name in node.input:
        shape = walk.shape(name) if name and name not in walk.places else ()
        if len(shape) >= right and shape[-right] != 1:
            raise ModelError(f"{node.op_type} of faces and a constant of {shape[-right]} where faces are counted")
    return Place(rank - right, major)


def _one_each(walk: Rebatcher, name: str) -> bool:
    return all(size == 1 for size in walk.shape(name))


def _align(walk: Rebatcher, node: onnx.NodeProto, at: int, widest: str) -> None:
    """One number a face, reshaped so that it meets the faces of the other operand."""
    name, place = node.input[at], walk.places[widest]
    mine, rank = walk.places[name], walk.rank(widest)
    if walk.rank(name) - mine.axis == rank - place.axis:
        return
    if walk.shape(widest)[place.axis] != 1:
        raise ModelError(f"{node.op_type} of a number for each face, and faces counted with other things")
    target = Place(place.axis)
    node.input[at] = walk.emit("Reshape", [name, walk.sizes([1] * rank, target)], "each")
    walk.editor.shapes[node.input[at]] = (1,) * rank
    walk.places[node.input[at]] = target


def _pictures(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place = _of(walk, node, 0)
    if place.axis != 0:
        raise ModelError(f"{node.op_type} where faces are not the first axis")
    return place


def _conv(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    if node.input[1] in walk.places:
        raise ModelError(f"{node.op_type} with a kernel for each face")
    return _pictures(walk, node)


def _pad(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, rank = _of(walk, node, 0), walk.rank(node.input[0])
    pads = attribute(node, "pads") or (walk.editor.const(node.input[1]) if len(node.input) > 1 else None)
    stated = len(node.input) > 3 and node.input[3]
    if pads is not None and not stated and (pads[place.axis] or pads[rank + place.axis]):
        raise ModelError("Pad adds faces")
    return place


def _resize(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    """Sizes are stated for one face, or computed, perhaps with that 1 in them: the faces' own count goes there."""
    place = _of(walk, node, 0)
    if len(node.input) <= 3 or not node.input[3] or attribute(node, "axes") is not None:
        return place
    if place.axis != 0:
        raise ModelError("Resize where faces are not the first axis")
    known = walk.editor.const(node.input[3])
    if known is not None and walk.batch is not None:
        node.input[3] = walk.vector([int(known[0]) * walk.batch, *(int(size) for size in known[1:])])
        return place
    end = walk.vector([np.iinfo(np.int64).max])
    rest = walk.emit("Slice", [node.input[3], walk.vector([1]), end], "sizes")
    first = walk.emit(
        "Slice", [walk.emit("Shape", [node.input[0]], "shape"), walk.vector([0]), walk.vector([1])], "first"
    )
    node.input[3] = walk.emit("Concat", [first, rest], "sizes", axis=0)
    return place


def _grid_sample(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    for at in (0, 1):
        if node.input[at] not in walk.places:
            node.input[at] = walk.stretched(node.input[at], Place(0))
        elif walk.places[node.input[at]].axis != 0:
            raise ModelError("GridSample where faces are not the first axis")
    return Place(0)


def _gemm(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place = walk.places.get(node.input[0])
    if place is None or place.axis != 0 or attribute(node, "transA", 0) or node.input[1] in walk.places:
        raise ModelError("Gemm of faces along another axis than rows")
    if len(node.input) > 2 and node.input[2] in walk.places:
        right, major = common([(2, place), (walk.rank(node.input[2]), walk.places[node.input[2]])], "Gemm")
        return Place(2 - right, major)
    return place


def _matmul(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    left, right = node.input[0], node.input[1]
    rank = max(walk.rank(left), walk.rank(right))
    found = [(walk.rank(name), walk.places[name]) for name in (left, right) if name in walk.places]
    if len(found) == 2:
        from_right, major = common(found, "MatMul")
        if from_right <= 2:
            raise ModelError("MatMul multiplies faces with each other")
        return Place(rank - from_right, major)
    (inner, place) = found[0]
    last = inner - place.axis
    if last == 1 or (last == 2 and right in walk.places):
        raise ModelError("MatMul sums over faces")
    if last == 2 and walk.rank(right) > 2 and any(size != 1 for size in walk.shape(right)[:-2]):
        raise ModelError("MatMul of rows of faces with several matrices")
    return Place(rank - last, place.major)


def _transpose(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, rank = _of(walk, node, 0), walk.rank(node.input[0])
    perm = [int(axis) for axis in attribute(node, "perm", list(reversed(range(rank))))]
    return place.moved(perm.index(place.axis))


def _concat(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    found = {walk.places[name] for name in node.input if name in walk.places}
    if len(found) != 1:
        raise ModelError("Concat joins tensors that count faces along different axes")
    place = found.pop()
    rank = walk.rank(node.input[0])
    if int(attribute(node, "axis")) % rank == place.axis:
        raise ModelError("Concat joins along the axis of faces")
    for at, name in enumerate(node.input):
        if name not in walk.places:
            node.input[at] = walk.stretched(name, place)
    return place


def _split(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place = _of(walk, node, 0)
    if int(attribute(node, "axis", 0)) % walk.rank(node.input[0]) == place.axis:
        raise ModelError("Split parts the faces")
    return place


def _slice(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, rank = _of(walk, node, 0), walk.rank(node.input[0])
    axes = walk.editor.axes(node, 3)
    if axes is None:
        starts = attribute(node, "starts")
        count = len(starts) if starts is not None else int((walk.shape(node.input[1]) or (rank,))[0] or rank)
        axes = list(range(count))
    if place.axis in [axis % rank for axis in axes]:
        raise ModelError("Slice takes some of the faces")
    return place


def _gather(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    data, indices = node.input[0], node.input[1]
    axis = int(attribute(node, "axis", 0)) % walk.rank(data)
    if data in walk.places and indices in walk.places:
        raise ModelError("Gather by indices of each face")
    if indices in walk.places:
        return walk.places[indices].moved(axis + walk.places[indices].axis)
    place = walk.places[data]
    if place.axis == axis:
        raise ModelError("Gather takes some of the faces")
    return place.moved(place.axis + (walk.rank(indices) - 1 if place.axis > axis else 0))


def _squeeze(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, shape = _of(walk, node, 0), walk.shape(node.input[0])
    stated = walk.editor.axes(node)
    axes = [at for at, size in enumerate(shape) if size == 1] if stated is None else [a % len(shape) for a in stated]
    if place.axis in axes:
        raise ModelError("Squeeze drops the axis of faces")
    return place.moved(place.axis - sum(axis < place.axis for axis in axes))


def _unsqueeze(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place = _of(walk, node, 0)
    stated = walk.editor.axes(node) or []
    rank = walk.rank(node.input[0]) + len(stated)
    new = {axis % rank for axis in stated}
    return place.moved([axis for axis in range(rank) if axis not in new][place.axis])


def _expand(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, shape = _of(walk, node, 0), walk.shape(node.input[0])
    target = walk.editor.const(node.input[1])
    rank = walk.rank(node.output[0])
    right = len(shape) - place.axis
    if target is not None and len(target) >= right and int(target[-right]) != 1:
        raise ModelError("Expand repeats faces")
    return place.moved(rank - right)


def _tile(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, repeats = _of(walk, node, 0), walk.editor.const(node.input[1])
    if repeats is None or int(repeats[place.axis]) != 1:
        raise ModelError("Tile repeats faces")
    return place


def _reduce(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, rank = _of(walk, node, 0), walk.rank(node.input[0])
    stated = walk.editor.axes(node)
    if not stated:
        if attribute(node, "noop_with_empty_axes", 0):
            return place
        raise ModelError(f"{node.op_type} over all axes, faces among them")
    return _without(place, [axis % rank for axis in stated], bool(attribute(node, "keepdims", 1)), node)


def _arg(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, rank = _of(walk, node, 0), walk.rank(node.input[0])
    axis = int(attribute(node, "axis", 0)) % rank
    return _without(place, [axis], bool(attribute(node, "keepdims", 1)), node)


def _without(place: Place, axes: list[int], kept: bool, node: onnx.NodeProto) -> Place:
    if place.axis in axes:
        raise ModelError(f"{node.op_type} over the axis of faces")
    return place if kept else place.moved(place.axis - sum(axis < place.axis for axis in axes))


def _along_axis(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place, rank = _of(walk, node, 0), walk.rank(node.input[0])
    flat = node.op_type in ("Softmax", "LogSoftmax", "Hardmax") and walk.editor.opset < 13
    axis = int(attribute(node, "axis", 1 if flat else -1)) % rank
    # Older softmaxes, and layer normalisation, work over all axes from theirs on.
    over = place.axis >= axis if flat or node.op_type == "LayerNormalization" else place.axis == axis
    if over or node.op_type == "CumSum":
        raise ModelError(f"{node.op_type} over the axis of faces")
    return place


def _one_hot(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    place = _of(walk, node, 0)
    axis = int(attribute(node, "axis", -1)) % (walk.rank(node.input[0]) + 1)
    return place.moved(place.axis + (axis <= place.axis))


def _scatter(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    """Elements of constants that are the same for every face, scattered by indices of each."""
    found = [walk.places[name] for name in node.input if name in walk.places]
    place = found[0]
    size = next(walk.shape(name)[place.axis] for name in node.input if name in walk.places)
    axis = int(attribute(node, "axis", 0)) % walk.rank(node.input[0])
    if any(other != place for other in found) or axis == place.axis or not isinstance(size, int):
        raise ModelError("ScatterElements along the axis of faces")
    for at, name in enumerate(node.input):
        if name not in walk.places:
            node.input[at] = walk.stretched(name, place, size)
    return place


def _einsum(walk: Rebatcher, node: onnx.NodeProto) -> Place:
    equation = attribute(node, "equation").decode().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    letters = {
        terms.split(",")[at][walk.places[name].axis] for at, name in enumerate(node.input) if name in walk.places
    }
    letter = letters.pop()
    if letters or not arrow or "." in equation or letter not in result:
        raise ModelError(f"Einsum {equation} mixes faces")
    others = [term for term, name in zip(terms.split(","), node.input, strict=True) if name not in walk.places]
    if any(letter in term for term in others):
        raise ModelError(f"Einsum {equation} counts faces in a constant")
    return Place(result.index(letter))
