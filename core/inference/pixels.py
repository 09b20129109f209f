"""Colours into a network's numbers and back, as a manifest's PixelSpec says."""

from __future__ import annotations

import numpy as np

from core.geometry import Float64Array
from core.inference.manifest import PixelSpec
from core.records import Float32Array

SAMPLE_MAX = 255.0  # PixelSpec counts in samples 0..255, arrays here hold colours 0..1


def numbers_of(colours: Float32Array, spec: PixelSpec) -> Float32Array:
    """The network's numbers float32 [n,3,h,w] of colours RGB [n,3,h,w] in 0..1. May be the same array."""
    factor = np.array([SAMPLE_MAX / spec.scale / one for one in spec.std])
    offset = np.array([-mean / one for mean, one in zip(spec.mean, spec.std, strict=True)])
    ordered = colours[:, ::-1] if spec.order == "BGR" else colours
    return _affine(ordered, factor, offset)


def colours_of(numbers: Float32Array, spec: PixelSpec) -> Float32Array:
    """Colours RGB float32 [n,3,h,w] of a network's numbers [n,3,h,w]; not clipped. May be the same array."""
    unit = spec.scale / SAMPLE_MAX
    colours = _affine(numbers, np.array(spec.std) * unit, np.array(spec.mean) * unit)
    return np.ascontiguousarray(colours[:, ::-1]) if spec.order == "BGR" else colours


def _affine(values: Float32Array, factor: Float64Array, offset: Float64Array) -> Float32Array:
    """values [n,3,h,w] times `factor` [3] plus `offset` [3], contiguous."""
    if (factor == 1).all() and (offset == 0).all():
        return np.ascontiguousarray(values, np.float32)
    made = np.multiply(values, factor.astype(np.float32)[:, None, None], dtype=np.float32)
    made += offset.astype(np.float32)[:, None, None]
    return np.ascontiguousarray(made)
