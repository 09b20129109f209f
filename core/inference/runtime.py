"""ONNX Runtime on the CPU for work on models, not on films: one copy of the weights, nothing kept warm."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from core.errors import ModelError


def open_plain(path: Path, *, optimised: bool = True) -> ort.InferenceSession:
    """A session on the CPU that keeps one copy of the weights; `ModelError` when the runtime refuses the file."""
    options = ort.SessionOptions()
    if not optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.enable_cpu_mem_arena = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many unrelated classes, all direct children of Exception
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"ONNX Runtime refuses it: {reason}", where=path.name) from error
