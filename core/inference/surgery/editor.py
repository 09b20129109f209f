"""A graph under the knife: nodes and constants by name, shapes of its tensors, and the way back to a file.

Large weights are never copied: they stay in the one `ModelProto` that was parsed. Shapes are inferred on a skeleton in
which every large weight is an input of known shape, because the inference of the onnx package copies its model twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, shape_inference

from core.errors import ModelError

SMALL = 4096  # elements; shapes, axes, scales and pads are far below, weights above matter only by their shape
IR_VERSION = 8  # the first that opset 17 states; initializers are no inputs since 4

Dim = int | str | None
Shape = tuple[Dim, ...]


class Editor:
    """One graph. `nodes` is in execution order, without Constant nodes, which became initializers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.graph = model.graph
        self._serial = 0
        self._consts = {tensor.name: tensor for tensor in self.graph.initializer}
        self._used_names = {name for node in self.graph.node for name in (*node.input, *node.output)}
        self._used_names |= set(self._consts)
        self.nodes: list[onnx.NodeProto] = []
        for node in self.graph.node:
            if node.op_type == "Constant":
                self._adopt(node)
            else:
                self.nodes.append(_copy(node))
        del self.graph.node[:]
        del self.graph.value_info[:]
        real = [_copy(value) for value in self.graph.input if value.name not in self._consts]
        del self.graph.input[:]
        self.graph.input.extend(real)
        model.ir_version = max(model.ir_version, IR_VERSION)
        self.shapes: dict[str, Shape] = {}
        self.types: dict[str, int] = {}

    @property
    def opset(self) -> int:
        return max(int(item.version) for item in self.model.opset_import if item.domain in ("", "ai.onnx"))

    @property
    def inputs(self) -> list[str]:
        return [value.name for value in self.graph.input]

    @property
    def outputs(self) -> list[str]:
        return [value.name for value in self.graph.output]

    # Constants

    def is_const(self, name: str) -> bool:
        return name in self._consts

    def const(self, name: str) -> NDArray[Any] | None:
        """The value of an initializer, None for any other tensor."""
        tensor = self._consts.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def const_shape(self, name: str) -> tuple[int, ...] | None:
        tensor = self._consts.get(name)
        return None if tensor is None else tuple(tensor.dims)

    def consts(self) -> list[str]:
        return list(self._consts)

    def add_const(self, array: NDArray[Any], hint: str) -> str:
        """A new initializer; returns its name."""
        name = self.new_name(hint)
        tensor = self.graph.initializer.add()
        tensor.name = name
        tensor.dims.extend(array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.raw_data = np.ascontiguousarray(array).tobytes()
        self._consts[name] = tensor
        self.shapes[name] = array.shape
        self.types[name] = tensor.data_type
        return name

    def replace_const(self, name: str, array: NDArray[Any]) -> None:
        """Another value under the same name; the old bytes are given up first."""
        tensor = self._consts[name]
        for field in ("float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
            tensor.ClearField(field)
        tensor.ClearField("dims")
        tensor.dims.extend(array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.raw_data = np.ascontiguousarray(array).tobytes()

    # Structure

    def new_name(self, hint: str) -> str:
        while True:
            self._serial += 1
            name = f"{hint}.{self._serial}"
            if name not in self._used_names:
                self._used_names.add(name)
                return name

    def make(self, op: str, inputs: Sequence[str], hint: str, **attributes: Any) -> onnx.NodeProto:
        """A new node with one output, not yet in the graph."""
        name = self.new_name(hint)
        return helper.make_node(op, list(inputs), [name], name=name, **attributes)

    def producers(self) -> dict[str, onnx.NodeProto]:
        return {name: node for node in self.nodes for name in node.output if name}

    def consumers(self) -> dict[str, list[onnx.NodeProto]]:
        found: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                found.setdefault(name, []).append(node)
        return found

    def replace_uses(self, old: str, new: str) -> None:
        """Every node that reads `old` reads `new`. Outputs of the graph keep their names."""
        for node in self.nodes:
            for at, name in enumerate(node.input):
                if name == old:
                    node.input[at] = new

    def axes(self, node: onnx.NodeProto, at: int = 1) -> list[int] | None:
        """The `axes` of a node, an attribute in old opsets and input number `at` in new ones; None where not stated."""
        found = attribute(node, "axes")
        if found is not None:
            return [int(axis) for axis in found]
        if len(node.input) > at and node.input[at]:
            value = self.const(node.input[at])
            if value is None:
                raise ModelError(f"{node.op_type} {node.name} has axes that are computed")
            return [int(axis) for axis in value.ravel()]
        return None

    def axes_form(self, op: str, axes: Sequence[int]) -> tuple[list[str], dict[str, Any]]:
        """How this opset states the axes of `op`: further inputs, and attributes."""
        since = {"Unsqueeze": 13, "Squeeze": 13, "ReduceSum": 13}.get(op, 18)
        if self.opset >= since:
            return [self.add_const(np.array(axes, np.int64), "axes")], {}
        return [], {"axes": list(axes)}

    def rename_output(self, name: str) -> str:
        """Give the tensor that is the graph's output `name` another name, everywhere; returns it."""
        inner = self.new_name(name)
        for node in self.nodes:
            for values in (node.input, node.output):
                for at, value in enumerate(values):
                    if value == name:
                        values[at] = inner
        return inner

    # Shapes

    def infer(self) -> None:
        """Fill `shapes` and `types`: None in a shape is a size that is not known, a word one that has a name."""
        skeleton = onnx.ModelProto(ir_version=self.model.ir_version)
        skeleton.opset_import.extend(self.model.opset_import)
        skeleton.graph.name = "skeleton"
        skeleton.graph.input.extend(self.graph.input)
        for name, tensor in self._consts.items():
            if int(np.prod(tensor.dims)) <= SMALL:
                skeleton.graph.initializer.append(tensor)
            else:
                skeleton.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        skeleton.graph.node.extend(self.nodes)
        # Stated shapes of outputs may be wrong (SCRFD states those of 640 x 640 for any size).
        skeleton.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.outputs)
        try:
            inferred = shape_inference.infer_shapes(skeleton, data_prop=True).graph
        except Exception as error:  # the checker raises classes of its own, and RuntimeError
            raise ModelError(f"its shapes do not fit together: {str(error).strip().splitlines()[0]}") from error
        self.shapes = {name: tuple(tensor.dims) for name, tensor in self._consts.items()}
        self.types = {name: tensor.data_type for name, tensor in self._consts.items()}
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            if tensor.HasField("shape"):
                self.shapes[value.name] = tuple(
                    dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in tensor.shape.dim
                )

    # The way back

    def finish(self) -> onnx.ModelProto:
        """The model: nodes that lead to an output in execution order, and the constants they read."""
        self.nodes = _ordered(_alive(self.nodes, self.outputs), {*self.inputs, *self._consts})
        used = {name for node in self.nodes for name in node.input} | set(self.outputs)
        for at in reversed(range(len(self.graph.initializer))):
            if self.graph.initializer[at].name not in used:
                self._consts.pop(self.graph.initializer[at].name, None)
                del self.graph.initializer[at]
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        return self.model

    def _adopt(self, node: onnx.NodeProto) -> None:
        """A Constant node as an initializer of the same name."""
        item = node.attribute[0]
        if item.name == "value":
            tensor = _copy(item.t)
        else:
            value = helper.get_attribute_value(item)
            dtype = np.float32 if item.name.startswith("value_float") else np.int64
            tensor = numpy_helper.from_array(np.array(value, dtype))
        tensor.name = node.output[0]
        self.graph.initializer.append(tensor)
        self._consts[tensor.name] = self.graph.initializer[-1]


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """An attribute's value, `default` where the node does not state it."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    for at in reversed(range(len(node.attribute))):
        if node.attribute[at].name == name:
            del node.attribute[at]
    node.attribute.append(helper.make_attribute(name, value))


def is_real(dtype: int) -> bool:
    """Whether a tensor type is one of real numbers."""
    return dtype in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def _copy(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made


def _alive(nodes: Sequence[onnx.NodeProto], outputs: Iterable[str]) -> list[onnx.NodeProto]:
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]


def _ordered(nodes: Sequence[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Nodes in an order in which each reads only what is known."""
    ready = set(known) | {""}
    waiting, made = list(nodes), []
    while waiting:
        later = []
        for node in waiting:
            if ready.issuperset(node.input):
                ready.update(node.output)
                made.append(node)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ModelError(f"{later[0].op_type} {later[0].name} reads a tensor that nothing makes")
        waiting = later
    return made
