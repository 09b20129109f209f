"""ONNX Runtime sessions on a known provider.

The model is loaded from bytes whose hash matched the manifest. Files with external data or operators outside the
standard domain are refused, because either would run or read something the hash does not cover.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from core.errors import ModelError
from core.inference.manifest import ModelManifest
from core.inference.onnxfile import parse_onnx
from core.inference.weights import PULL_HINT, model_bytes
from core.records import Float32Array

CPU = "CPUExecutionProvider"


class Session:
    """One loaded model. `provider` is the execution provider that really runs it."""

    def __init__(self, manifest: ModelManifest, inner: ort.InferenceSession) -> None:
        self.manifest = manifest
        self.provider: str = inner.get_providers()[0]
        self._inner = inner
        self._outputs = [spec.name for spec in manifest.outputs]

    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> list[Float32Array]:
        """The manifest's outputs, in its order; `ModelError` when the runtime refuses the inputs."""
        try:
            return list(self._inner.run(self._outputs, dict(feeds)))
        except Exception as error:  # ONNX Runtime raises many unrelated classes, all direct children of Exception
            raise ModelError(_first_line(error), where=f"model {self.manifest.id}") from error


def open_session(manifest: ModelManifest, cache: Path, *, threads: int = 1) -> Session:
    """A session on the CPU provider with `threads` threads that sleep, not spin, while idle.

    Raises `ModelError` when the model is missing, altered, refused, or does not have the manifest's tensors.
    """
    data = model_bytes(manifest, cache)
    _refuse_reaching_out(data, manifest)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        inner = ort.InferenceSession(data, options, providers=[CPU])
    except Exception as error:  # as in Session.run
        raise ModelError(_first_line(error), where=f"model {manifest.id}", hint=PULL_HINT) from error
    for kind, have, want in (
        ("inputs", inner.get_inputs(), manifest.inputs),
        ("outputs", inner.get_outputs(), manifest.outputs),
    ):
        names = {value.name for value in have}
        missing = [spec.name for spec in want if spec.name not in names]
        if missing:
            raise ModelError(f"no {kind} named {', '.join(missing)}", where=f"model {manifest.id}")
    return Session(manifest, inner)


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


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
