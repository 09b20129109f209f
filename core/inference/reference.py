"""Whether a provider computes what the CPU computes: made-up inputs, and the CPU's answer kept beside the model.

A GPU that is wired up wrongly, a TensorRT engine of another model or a driver that miscompiles a kernel all answer
without an error. The reference is computed once, on the CPU and in float32, for two different items, so that items
mixed up within a batch are seen too; a few thousand numbers of each output are kept.
"""

from __future__ import annotations

import secrets
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ModelError, StorageError
from core.inference.manifest import ModelManifest, TensorSpec
from core.records import Float32Array
from core.records.models import Precision

ITEMS = 2
KEPT = 4096  # numbers of one item's output
OPEN_SIDE_PX = 64  # for a height or width that the model leaves open; all detectors take multiples of 32
# The error that is let pass: root mean square of the difference over that of the reference. TensorRT computes float32
# in TF32 (10 bits of mantissa), half floats have as many; INT8 is judged by its own report when it is made.
TOLERANCE: Mapping[Precision, float] = {"fp32": 5e-3, "fp16": 3e-2, "int8": 2e-1}

Outputs = Sequence[Float32Array]


@dataclass(frozen=True)
class Reference:
    """Inputs of ITEMS items, and for each output a sample of what the CPU makes of them."""

    feeds: dict[str, Float32Array]
    samples: tuple[Float32Array, ...]

    def first(self, count: int) -> Reference:
        """The reference of the first `count` items alone."""
        feeds = {name: feed[:count] for name, feed in self.feeds.items()}
        return Reference(feeds, tuple(one[:count] for one in self.samples))


def made_up_feeds(manifest: ModelManifest) -> dict[str, Float32Array]:
    """Inputs of ITEMS items that the model accepts: noise in the range of its pixels, vectors of length one."""
    random = np.random.default_rng(int.from_bytes(manifest.id.encode(), "little") % 2**32)
    feeds: dict[str, Float32Array] = {}
    for spec in manifest.inputs:
        shape = (ITEMS, *(size if isinstance(size, int) else OPEN_SIDE_PX for size in spec.shape[1:]))
        if len(shape) > 2:
            feeds[spec.name] = _pixels(random, shape, manifest)
        elif len(shape) == 2:
            vectors = random.standard_normal(shape)
            feeds[spec.name] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        else:
            feeds[spec.name] = np.full(shape, 0.5, np.float32)  # CodeFormer's weight
    return feeds


def _pixels(random: np.random.Generator, shape: tuple[int, ...], manifest: ModelManifest) -> Float32Array:
    """Samples 0..255 as the network's numbers, channels where the input has three of them."""
    samples = random.uniform(0, 255, shape)
    channels = next((axis for axis in (1, len(shape) - 1) if shape[axis] == 3), None)
    if channels is None:
        return (samples / manifest.pixels.scale).astype(np.float32)
    form = [1] * len(shape)
    form[channels] = 3
    mean, std = (np.reshape(each, form) for each in (manifest.pixels.mean, manifest.pixels.std))
    return np.asarray((samples / manifest.pixels.scale - mean) / std, np.float32)


def sample(output: Float32Array) -> Float32Array:
    """At most KEPT numbers of each item, spread evenly: float32 [n,k]."""
    flat = output.reshape(len(output), -1)
    return np.ascontiguousarray(flat[:, :: max(1, -(-flat.shape[1] // KEPT))])


def stored_reference(manifest: ModelManifest, file: Path, sha256: str, compute: Callable[[Any], Outputs]) -> Reference:
    """The reference kept in `file` for the weights `sha256`, made now by `compute` where there is none.

    Raises what `compute` raises, and `StorageError` when the file cannot be written.
    """
    feeds = made_up_feeds(manifest)
    names = [f"output{number}" for number in range(len(manifest.outputs))]
    try:
        with np.load(file) as kept:
            if str(kept["sha256"]) == sha256:
                return Reference(feeds, tuple(np.asarray(kept[name], np.float32) for name in names))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        pass  # missing or torn: made again
    samples = tuple(sample(output) for output in compute(feeds))
    part = file.with_name(f"{file.name}.{secrets.token_hex(4)}.npz")
    try:
        kept_now: dict[str, Any] = {"sha256": np.array(sha256), **dict(zip(names, samples, strict=True))}
        np.savez(part, **kept_now)
        part.replace(file)
    except OSError as error:
        raise StorageError(
            f"the reference cannot be kept: {error.strerror}", where=str(file.parent), hint="name another model cache"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return Reference(feeds, samples)


def check_outputs(manifest: ModelManifest, reference: Reference, outputs: Outputs, precision: Precision) -> None:
    """`ModelError` unless the outputs of the reference's feeds are its own within the precision's tolerance."""
    for spec, output, expected in zip(manifest.outputs, outputs, reference.samples, strict=True):
        wrong = _difference(spec, sample(output), expected)
        if not wrong <= TOLERANCE[precision]:  # also when it is not a number
            raise ModelError(
                f"computes something else than the CPU: output {spec.name} is off by {wrong:.2g} of its size, "
                f"{TOLERANCE[precision]:g} is let pass",
                where=f"model {manifest.id}",
                hint="delete its engine if it has one, check the driver, or use the device cpu",
            )


def _difference(spec: TensorSpec, got: Float32Array, expected: Float32Array) -> float:
    if got.shape != expected.shape:
        raise ModelError(f"output {spec.name} has {got.shape} numbers where the CPU has {expected.shape}")
    scale = float(np.sqrt(np.mean(np.square(expected, dtype=np.float64))))
    return float(np.sqrt(np.mean(np.square(got.astype(np.float64) - expected)))) / max(scale, 1e-6)
