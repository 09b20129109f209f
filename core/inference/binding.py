"""Calls of one ONNX Runtime session with arrays of NumPy.

On a GPU the tensors of a call lie in buffers that are made once for each set of shapes and bound to the session, so
that a call allocates nothing and a captured CUDA graph finds its addresses again. The same code runs on the CPU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from core.records import Float32Array

# numpy's names of the tensor types that inputs of models have
DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}
SHAPES_KEPT = 4  # sets of buffers; a detector meets few sizes of picture in one film


class Runner(Protocol):
    """Runs a session: arrays by input name in, the outputs as float32 in the order asked for out."""

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Float32Array]: ...


def input_types(inner: ort.InferenceSession) -> dict[str, Any]:
    """NumPy's element types of the session's inputs."""
    return {value.name: DTYPES.get(value.type, np.float32) for value in inner.get_inputs()}


def typed(types: Mapping[str, Any], feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The feeds as the session's inputs want them: its element types, C order; only the inputs that it has."""
    return {name: np.ascontiguousarray(feed, types[name]) for name, feed in feeds.items() if name in types}


class PlainRunner:
    """Hands arrays over as they are; the runtime allocates the outputs. Threads may call it together."""

    def __init__(self, inner: ort.InferenceSession, outputs: Sequence[str]) -> None:
        self._inner = inner
        self._types = input_types(inner)
        self._outputs = list(outputs)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Float32Array]:
        found = self._inner.run(self._outputs, typed(self._types, feeds))
        return [np.asarray(output, np.float32) for output in found]


class BoundRunner:
    """Keeps buffers on `device` ("cuda" or "cpu") for the last few sets of input shapes. One thread at a time."""

    def __init__(self, inner: ort.InferenceSession, outputs: Sequence[str], device: str, device_id: int) -> None:
        self._inner = inner
        self._types = input_types(inner)
        self._outputs = list(outputs)
        self._device, self._device_id = device, device_id
        self._sets: OrderedDict[tuple[Any, ...], _Buffers] = OrderedDict()

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[Float32Array]:
        arrays = typed(self._types, feeds)
        key = tuple((name, array.shape) for name, array in sorted(arrays.items()))
        buffers = self._sets.get(key)
        if buffers is None:
            while len(self._sets) >= SHAPES_KEPT:
                self._sets.popitem(last=False)
            buffers = _Buffers(self._inner, self._outputs, arrays, self._device, self._device_id)
            self._sets[key] = buffers
        self._sets.move_to_end(key)
        return buffers.run(arrays)


class _Buffers:
    """The bound tensors of one set of shapes. The first call lets the runtime say how large the outputs are."""

    def __init__(
        self,
        inner: ort.InferenceSession,
        outputs: list[str],
        arrays: Mapping[str, NDArray[Any]],
        device: str,
        device_id: int,
    ) -> None:
        self._inner, self._outputs = inner, outputs
        self._place = (device, device_id)
        self._binding = inner.io_binding()
        # Made by shape: on the CPU a tensor made from an array would be that array, and the next call would change it.
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype.type, device, device_id)
            for name, array in arrays.items()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._results: list[ort.OrtValue] | None = None

    def run(self, arrays: Mapping[str, NDArray[Any]]) -> list[Float32Array]:
        for name, value in self._inputs.items():
            value.update_inplace(arrays[name])
        if self._results is None:
            self._size()
        self._binding.synchronize_inputs()
        self._inner.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()
        assert self._results is not None
        # A copy on every device: the next call writes into the same buffers.
        return [np.array(value.numpy(), np.float32) for value in self._results]

    def _size(self) -> None:
        """Bind outputs of the sizes that one call gives."""
        types = {value.name: DTYPES.get(value.type, np.float32) for value in self._inner.get_outputs()}
        for name in self._outputs:
            self._binding.bind_output(name, *self._place)
        # Whatever is captured as a CUDA graph must find the final buffers: this call is not.
        options = ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", "-1")
        self._inner.run_with_iobinding(self._binding, options)
        shapes = [value.shape() for value in self._binding.get_outputs()]
        self._binding.clear_binding_outputs()
        self._results = [
            ort.OrtValue.ortvalue_from_shape_and_type(shape, types[name], *self._place)
            for name, shape in zip(self._outputs, shapes, strict=True)
        ]
        for name, value in zip(self._outputs, self._results, strict=True):
            self._binding.bind_ortvalue_output(name, value)
