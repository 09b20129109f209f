"""ONNX Runtime sessions on a known provider, made by one factory for the life of an actor.

The model is loaded from bytes whose hash is known. Files with external data or operators outside the standard
domain are refused, because either would run or read something the hash does not cover.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from core.errors import ModelError
from core.inference.manifest import ModelManifest, TensorSpec
from core.inference.onnxfile import parse_onnx
from core.inference.providers import CPU, DeviceSpec, session_options
from core.inference.weights import PULL_HINT, model_bytes
from core.records import Float32Array
from core.records.models import ModelUse, Precision

__all__ = ["CPU", "Session", "Sessions"]


class Session:
    """One loaded model. `provider` is the execution provider that really runs it; `device` where that is.

    `batch` is the fixed number of items of one call of the runtime, None where any will do. `arrays` are tensors of
    the published file that surgery took out of the graph ("emap" of inswapper). Any number of threads may call `run`.
    """

    def __init__(
        self, manifest: ModelManifest, inner: ort.InferenceSession, use: ModelUse, arrays: Mapping[str, Float32Array]
    ) -> None:
        self.manifest = manifest
        self.use = use
        self.arrays = dict(arrays)
        self._inner = inner
        self._outputs = [spec.name for spec in manifest.outputs]
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        return self.use.provider

    @property
    def device(self) -> str:
        return self.use.device

    @property
    def batch(self) -> int | None:
        return self.use.batch

    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> list[Float32Array]:
        """The manifest's outputs, in its order, for items along the first axis of every feed, any number of them.

        A model with a fixed batch is run as often as needed; the last part is filled up with its own last item and
        cut off again. Raises `ModelError` when the runtime refuses the inputs.
        """
        counts = {len(feed) for feed in feeds.values()}
        if len(counts) != 1:
            raise ModelError(f"inputs of {sorted(counts)} items in one call", where=f"model {self.manifest.id}")
        count = counts.pop()
        if count == 0:
            return self._nothing(feeds)
        size = self.batch or count
        parts = [self._part(feeds, start, size) for start in range(0, count, size)]
        return parts[0] if len(parts) == 1 else [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def _part(self, feeds: Mapping[str, NDArray[np.float32]], start: int, size: int) -> list[Float32Array]:
        part = {name: feed[start : start + size] for name, feed in feeds.items()}
        valid = min(size, *(len(feed) for feed in part.values()))
        if valid < size:
            part = {name: np.concatenate([feed, np.repeat(feed[-1:], size - valid, 0)]) for name, feed in part.items()}
        return [output[:valid] for output in self._call(part)] if valid < size else self._call(part)

    def _nothing(self, feeds: Mapping[str, NDArray[np.float32]]) -> list[Float32Array]:
        """Outputs of no items; where the manifest leaves a shape open, that of one item of zeros tells it."""
        shapes = [spec.shape[1:] for spec in self.manifest.outputs]
        if all(isinstance(size, int) for shape in shapes for size in shape):
            return [np.zeros((0, *(int(size) for size in shape)), np.float32) for shape in shapes]
        one = {name: np.zeros((1, *feed.shape[1:]), np.float32) for name, feed in feeds.items()}
        return [output[:0] for output in self._part(one, 0, self.batch or 1)]

    def _call(self, feeds: Mapping[str, NDArray[np.float32]]) -> list[Float32Array]:
        try:
            return [np.asarray(output, np.float32) for output in self._inner.run(self._outputs, dict(feeds))]
        except Exception as error:  # ONNX Runtime raises many unrelated classes, all direct children of Exception
            raise ModelError(first_line(error), where=f"model {self.manifest.id}") from error


class Sessions:
    """The models of one actor, each loaded when it is first opened, kept as long as this object. Thread-safe."""

    def __init__(self, cache: Path, device: DeviceSpec) -> None:
        self._cache = cache
        self._spec = device
        self._open: dict[tuple[str, Precision], Session] = {}
        self._lock = threading.RLock()

    def open(self, manifest: ModelManifest, *, precision: Precision = "fp32") -> Session:
        """The session of a model, the same object each time.

        Raises `ModelError` when the model is missing, altered, refused, or does not have the manifest's tensors.
        """
        with self._lock:
            key = (manifest.id, precision)
            if key not in self._open:
                self._open[key] = self._load(manifest, precision)
            return self._open[key]

    def uses(self) -> tuple[ModelUse, ...]:
        """How every model that was opened really runs, in the order of opening."""
        with self._lock:
            return tuple(session.use for session in self._open.values())

    def _load(self, manifest: ModelManifest, precision: Precision) -> Session:
        data = model_bytes(manifest, self._cache)
        _refuse_reaching_out(data, manifest)
        try:
            inner = ort.InferenceSession(data, session_options(CPU, self._spec), providers=[CPU])
        except Exception as error:  # as in Session.run
            raise ModelError(first_line(error), where=f"model {manifest.id}", hint=PULL_HINT) from error
        for kind, have, want in (
            ("inputs", inner.get_inputs(), manifest.inputs),
            ("outputs", inner.get_outputs(), manifest.outputs),
        ):
            names = {value.name for value in have}
            missing = [spec.name for spec in want if spec.name not in names]
            if missing:
                raise ModelError(f"no {kind} named {', '.join(missing)}", where=f"model {manifest.id}")
        use = ModelUse(
            id=manifest.id,
            sha256=manifest.sha256 or "",
            listed=manifest.sha256 is not None,
            provider=str(inner.get_providers()[0]),
            device="cpu",
            precision=precision,
            batch=_fixed_batch(inner, manifest.inputs),
        )
        return Session(manifest, inner, use, {})


def _fixed_batch(inner: Any, inputs: Sequence[TensorSpec]) -> int | None:
    """The number of items that the graph states, None where it leaves that open."""
    names = {spec.name for spec in inputs}
    first = {value.shape[0] for value in inner.get_inputs() if value.name in names and value.shape}
    sizes = {size for size in first if isinstance(size, int)}
    return sizes.pop() if len(sizes) == 1 else None


def _refuse_reaching_out(data: bytes, manifest: ModelManifest) -> None:
    where = f"model {manifest.id}"
    try:
        model = parse_onnx(data)
    except ModelError as error:
        raise ModelError(error.what, where=where, hint=PULL_HINT) from error
    domains = {item.domain for item in model.opset_import} | {node.domain for node in model.graph.node}
    foreign = sorted(domains - {"", "ai.onnx"})
    if foreign or model.functions:
        raise ModelError(f"operators outside the standard: {', '.join(foreign) or 'local functions'}", where=where)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ModelError("weights in another file", where=where, hint="only models in one file are loaded")


def first_line(error: Exception) -> str:
    """What a foreign exception says, in one line."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
