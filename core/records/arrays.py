"""Array types of the records, and what makes an array safe to share."""

from __future__ import annotations

from typing import Any

import numpy as np

Int64Array = np.ndarray[Any, np.dtype[np.int64]]
Int32Array = np.ndarray[Any, np.dtype[np.int32]]
Float32Array = np.ndarray[Any, np.dtype[np.float32]]
BoolArray = np.ndarray[Any, np.dtype[np.bool_]]


def freeze(owner: object, name: str, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Replace a field by a read-only, contiguous view of the right dtype; refuse another shape."""
    array = np.ascontiguousarray(getattr(owner, name), dtype=dtype)
    want = tuple(array.shape[axis] if size is None and axis < array.ndim else size for axis, size in enumerate(shape))
    if array.shape != want:
        raise ValueError(f"{type(owner).__name__}.{name}: expected shape {shape}, got {array.shape}")
    view = array.view()
    view.setflags(write=False)
    object.__setattr__(owner, name, view)
