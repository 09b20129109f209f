"""Prepared models: the published file after surgery, for one batch and one precision, kept in the cache.

    CACHE/prepared/
      <id>-<sha256, 16 digits>-b<batch>-<precision>-v<version>.onnx        the changed model
      ….npz       arrays taken out of it (emap), where there are any
      ….json      its record: hashes and the parity report; written last, so that a record means a whole file
      ….failed.json   the parity report of a change that was outside its tolerance; nothing else is kept of it
      ….lock      held by the process that makes it

A name holds everything that the result depends on; another version of the surgery makes its own files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from core.codec import decode, encode
from core.errors import FarmError, InputError, ModelError, StorageError
from core.inference.manifest import ModelManifest
from core.inference.onnxfile import parse_onnx
from core.inference.parity import Feeds, OutsideTolerance, ParityReport, compare, require
from core.inference.surgery import VERSION, operate
from core.inference.surgery.quantise import measure, quantise, unwatch, watch
from core.inference.weights import Installed, installed
from core.records import Float32Array
from core.records.models import Precision

FOLDER = "prepared"
READ_BYTES = 1 << 22
KEPT = 4  # one in so many calibration inputs tells the parity
COMPARED = 8  # real faces in a parity report; the published file takes them one by one


@dataclass(frozen=True)
class Variant:
    """How many faces a call takes (None: any number), and in which precision the network computes."""

    batch: int | None = None
    precision: Precision = "fp32"


@dataclass(frozen=True)
class Prepared:
    """A model ready to be loaded. `sha256` is of the file at `path`; `arrays` are tensors taken out of the graph
    ({"emap": [512,512]} for inswapper); `parity` is None for embedded models, which are used as they are."""

    path: Path
    sha256: str
    arrays: dict[str, Float32Array]
    parity: ParityReport | None


@dataclass(frozen=True)
class Record:
    """What lies beside a prepared file. `weights` is the sha256 of the file it was made from."""

    id: str
    weights: str
    sha256: str
    arrays_sha256: str | None
    steps: dict[str, int]
    parity: ParityReport


def prepare(
    manifest: ModelManifest,
    cache: Path,
    variant: Variant,
    progress: Callable[[str], None] | None = None,
    *,
    calibration: Sequence[Feeds] | None = None,
) -> Prepared:
    """The model in this variant, from the cache or made now; embedded models as they are.

    `calibration`: inputs of real faces, [1,...] each. INT8 is calibrated with them, and one in four is kept for the
    parity report; in other precisions some are compared beside the seeded inputs. With them the variant is made even if
    it is there. Only one process makes a variant; others wait.

    Raises `ModelError` for weights that are missing, altered or cannot be changed, and for INT8 without calibration,
    `OutsideTolerance` where the result differs from the published file too much, `StorageError` for the cache.
    """
    have = installed(manifest, cache)
    if manifest.embedded:
        return Prepared(have.path, have.sha256, {}, None)
    base = cache / FOLDER / stem(manifest, have.sha256, variant)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        if calibration is None and (ready := _ready(base)) is not None:
            return ready
        if calibration is None and variant.precision == "int8":
            raise ModelError(
                "it is not calibrated for INT8",
                where=f"model {manifest.id}",
                hint=f"run: farm models convert {manifest.id} --int8 --calibrate VIDEO",
            )
        with _locked(base):
            if calibration is None and (ready := _ready(base)) is not None:
                return ready
            return _make(manifest, have, variant, base, progress or _silent, calibration)
    except OSError as error:
        raise StorageError(
            f"the model cache cannot be written: {error.strerror or error}",
            where=str(base.parent),
            hint="name another folder",
        ) from error


def is_prepared(manifest: ModelManifest, cache: Path, variant: Variant) -> bool:
    """Whether `prepare` would find the variant in the cache. Raises `ModelError` for weights that are not whole."""
    base = cache / FOLDER / stem(manifest, installed(manifest, cache).sha256, variant)
    try:
        return _ready(base) is not None
    except OutsideTolerance:
        return False


def stem(manifest: ModelManifest, sha256: str, variant: Variant) -> str:
    """The name of a prepared file without its ending."""
    batch = "any" if variant.batch is None else variant.batch
    return f"{manifest.id}-{sha256[:16]}-b{batch}-{variant.precision}-v{VERSION}"


def _make(
    manifest: ModelManifest,
    have: Installed,
    variant: Variant,
    base: Path,
    progress: Callable[[str], None],
    calibration: Sequence[Feeds] | None,
) -> Prepared:
    """Surgery, parity, then publication by rename; the record comes last."""
    batch = "any number of faces" if variant.batch is None else f"batches of {variant.batch}"
    progress(f"{manifest.id}: preparing {batch} in {variant.precision}")
    part = _beside(base, f".{secrets.token_hex(4)}.part")
    try:
        arrays, steps = _operated(manifest, have, variant, part, calibration)
        film = None if calibration is None else _compared(calibration, variant.precision)
        half = steps["widened"] > 0
        report = compare(manifest, have.path, part, variant.batch, variant.precision, half=half, film=film)
        _beside(base, ".failed.json").unlink(missing_ok=True)
        if not report.passed:
            _write(_beside(base, ".failed.json"), encode(report))
            require(report)
        arrays_sha256 = _publish_arrays(arrays, base)
        sha256 = _hash(part)
        part.replace(_beside(base, ".onnx"))
    except (FarmError, OSError):
        raise
    except Exception as error:  # what a malformed graph makes of numpy, ONNX and its runtime is beyond listing
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(
            f"it cannot be prepared for {batch}: {reason}",
            where=f"model {manifest.id}",
            hint="give the file as published",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    record = Record(manifest.id, have.sha256, sha256, arrays_sha256, steps, report)
    _write(_beside(base, ".json"), encode(record))
    progress(f"{manifest.id}: prepared {batch} in {variant.precision}")
    return Prepared(_beside(base, ".onnx"), sha256, arrays, report)


def _operated(
    manifest: ModelManifest, have: Installed, variant: Variant, part: Path, calibration: Sequence[Feeds] | None
) -> tuple[dict[str, Float32Array], dict[str, int]]:
    """Write the changed model to `part`; the arrays taken out of it, and what the surgery did."""
    where = f"model {manifest.id}"
    model = parse_onnx(have.path.read_bytes())
    try:
        operated = operate(model, manifest, variant.batch, half=variant.precision == "fp16")
        if calibration is not None and variant.precision == "int8":
            watch(operated.editor)
            _serialise(operated.editor.finish(), part)
            greatest = measure(part, _calls(_used(calibration), variant.batch or 1))
            unwatch(operated.editor)
            operated.steps["quantised"] = quantise(operated.editor, greatest)
            if not operated.steps["quantised"]:
                raise ModelError("it has no convolution for INT8", hint="use it in fp32")
            operated.editor.finish()
    except ModelError as error:
        place = f"{where}, {error.where}" if error.where else where
        raise ModelError(error.what, where=place, hint=error.hint) from error
    _serialise(model, part)
    return operated.arrays, operated.steps


def _compared(calibration: Sequence[Feeds], precision: Precision) -> Feeds:
    """The real faces of the parity report, at most COMPARED; of INT8 those that it was not calibrated with."""
    kept = calibration[::KEPT] if precision == "int8" else calibration
    return _batch(kept[:: -(-len(kept) // COMPARED)], None)


def _used(calibration: Sequence[Feeds]) -> Sequence[Feeds]:
    """The others; all where there are too few."""
    return [feeds for at, feeds in enumerate(calibration) if at % KEPT] or calibration


def _calls(calibration: Sequence[Feeds], batch: int) -> Iterator[Feeds]:
    """The inputs in calls of `batch` faces, the last filled up with its own."""
    for start in range(0, len(calibration), batch):
        yield _batch(calibration[start : start + batch], batch)


def _batch(calls: Sequence[Feeds], batch: int | None) -> Feeds:
    """Inputs of one call: the given ones, repeated until they fill the batch."""
    count = batch or len(calls)
    return {name: np.concatenate([calls[at % len(calls)][name] for at in range(count)]) for name in calls[0]}


def _serialise(model: onnx.ModelProto, path: Path) -> None:
    with path.open("wb") as file:
        file.write(model.SerializeToString(deterministic=True))


def _ready(base: Path) -> Prepared | None:
    """The prepared model, if it is whole. Raises `OutsideTolerance` for one that was tried and refused."""
    failed = _read(_beside(base, ".failed.json"))
    if failed is not None:
        with contextlib.suppress(InputError):
            require(decode(failed, ParityReport))
    data = _read(_beside(base, ".json"))
    if data is None:
        return None
    try:
        record = decode(data, Record)
        path = _beside(base, ".onnx")
        if _hash(path) != record.sha256:
            return None
        arrays: dict[str, Float32Array] = {}
        if record.arrays_sha256 is not None:
            store = _beside(base, ".npz")
            if _hash(store) != record.arrays_sha256:
                return None
            with np.load(store, allow_pickle=False) as found:
                arrays = {name: np.asarray(found[name], np.float32) for name in found.files}
    except (InputError, FileNotFoundError):
        return None
    return Prepared(path, record.sha256, arrays, record.parity)


def _publish_arrays(arrays: dict[str, Float32Array], base: Path) -> str | None:
    if not arrays:
        return None
    part = _beside(base, f".{secrets.token_hex(4)}.npz")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        sha256 = _hash(part)
        part.replace(_beside(base, ".npz"))
    finally:
        part.unlink(missing_ok=True)
    return sha256


@contextlib.contextmanager
def _locked(base: Path) -> Iterator[None]:
    with _beside(base, ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _beside(base: Path, ending: str) -> Path:
    return base.with_name(base.name + ending)  # with_suffix would cut ids such as gfpgan_1.4


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _silent(line: str) -> None:
    del line


__all__ = ["OutsideTolerance", "ParityReport", "Prepared", "Variant", "is_prepared", "prepare"]
