"""The file that a session loads: a model's weights as installed, in the variant that the device wants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import ModelError
from core.inference.manifest import ModelManifest
from core.inference.onnxfile import check_model
from core.inference.variants import OutsideTolerance, ParityReport, Variant, is_prepared, prepare
from core.inference.weights import installed, model_bytes
from core.records import Float32Array
from core.records.models import Precision

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Ready:
    """A checked file. `file_sha256` is its own hash, `sha256` that of the weights as published or given; `listed`:
    the latter is the published one; `batch` and `precision` are what the file really has; `parity` is None for a file
    as published."""

    path: Path
    file_sha256: str
    sha256: str
    listed: bool
    batch: int | None
    precision: Precision
    arrays: Mapping[str, Float32Array]
    parity: ParityReport | None = None


def get_ready(
    manifest: ModelManifest,
    cache: Path,
    batch: int | None,
    precision: Precision,
    progress: Progress,
    note: Progress | None = None,
) -> Ready:
    """The model for `batch` items of one call (None: any number).

    Embedded models are used as they are, in fp32. Where another precision would change the picture too much, fp32 is
    taken; a model that cannot be changed to the batch is used one item at a time, and as published if need be; `note`
    is told why, `progress` what takes long and, where there is no `note`, that too. Raises `ModelError` for weights
    that are missing, altered or refused.
    """
    note = note or progress
    origin = installed(manifest, cache)
    as_published = Ready(origin.path, origin.sha256, origin.sha256, origin.listed, batch, "fp32", {})
    if manifest.embedded:
        check_model(model_bytes(manifest, cache), manifest)  # operators' files were checked when they were added
        return as_published
    try:
        made = prepare(manifest, cache, Variant(batch, precision), progress)
    except ModelError as error:
        # INT8 must be calibrated first, which only the operator can do; perhaps it was, one face at a time.
        missing = precision == "int8" and not isinstance(error, OutsideTolerance)
        if missing and (batch == 1 or not is_prepared(manifest, cache, Variant(1, precision))):
            raise
        if precision != "fp32" and isinstance(error, OutsideTolerance):
            note(f"{error.where}: {error.what}; fp32 is used")
            return get_ready(manifest, cache, batch, "fp32", progress, note)
        if batch != 1:
            note(f"{error}; it is used one face at a time")
            return get_ready(manifest, cache, 1, precision, progress, note)
        if not usable_as_published(manifest):
            raise
        note(f"{error}; it is used as published")
        return as_published
    return Ready(made.path, made.sha256, origin.sha256, origin.listed, batch, precision, made.arrays, made.parity)


def usable_as_published(manifest: ModelManifest) -> bool:
    """Whether the published graph does without surgery: it needs no emap out of the file, and every output has an
    axis of items."""
    emap = manifest.swap is not None and manifest.swap.identity == "emap"
    return not emap and all(spec.shape and spec.shape[0] in {1, "batch"} for spec in manifest.outputs)
