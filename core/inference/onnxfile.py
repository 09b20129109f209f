"""Reading an ONNX file out of bytes."""

from __future__ import annotations

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from core.errors import ModelError


def parse_onnx(data: bytes) -> onnx.ModelProto:
    """The model; `ModelError` when `data` is not one."""
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError("not an ONNX file") from error
