"""TensorRT engines on disk: named by all that they depend on, built once, shared, never half there.

    <cache>/engines/
      timing/<capability>-…/          timings of kernels, shared by all models; a folder for each TensorRT and driver
      <model>-<digest>.lock           held by the one who builds or fetches
      <model>-<digest>/
        <model>-<digest>_ctx.onnx     the wrapper that is loaded instead of the model
        <model>-<digest>*.engine      what the wrapper names, beside it
        engine.json                   the key, seconds of the build, and sha256 and size of every file; written last

ONNX Runtime reuses a cached engine for a graph of the same name with another static shape (its issue 32254), and an
engine runs only on the kind of GPU, with the TensorRT and the driver that it was built for. So the folder's and the
files' names hold the digest of all of that. A folder appears by rename, whole or not at all. On a shelf
(core.inference.shelf) lie the same names, with timing/…/timing.json for the hashes of the timings.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from core import codec
from core.errors import InputError, ModelError, StorageError
from core.inference.providers import EngineFiles
from core.inference.shelf import Shelf, lock_handle
from core.records.models import Precision

RECORD = "engine.json"
TIMINGS = "timing.json"
SAY_EVERY_S = 10.0
DIGEST_CHARACTERS = 20

Progress = Callable[[str], None]


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on. sha256: of the prepared model; capability and driver: of the GPU."""

    model: str
    sha256: str
    batch: int
    precision: Precision
    onnxruntime: str
    tensorrt: str
    capability: str
    driver: str

    @property
    def name(self) -> str:
        """The model's id and the digest of everything: safe as a file's name."""
        safe = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in self.model)
        return f"{safe}-{codec.digest(asdict(self))[:DIGEST_CHARACTERS]}"


@dataclass(frozen=True)
class EngineRecord:
    """What `engine.json` says: `files` maps names to (sha256, size in bytes)."""

    key: EngineKey
    seconds: float
    files: dict[str, tuple[str, int]]


def engines_folder(cache: Path) -> Path:
    return cache / "engines"


def files_of(key: EngineKey, folder: Path) -> EngineFiles:
    """Names inside the engine's own folder; timings lie beside it in the engines' folder."""
    timing = folder.parent / "timing" / f"{key.capability}-{key.tensorrt}-{key.driver}"
    return EngineFiles(wrapper=folder / f"{key.name}_ctx.onnx", prefix=key.name, timing=timing)


def find_engine(key: EngineKey, cache: Path, shelf: Shelf | None = None) -> EngineFiles | None:
    """The engine if it is in the cache, or on the shelf, from which it is fetched and its hashes checked.

    None where it is in neither. Raises `ModelError` for a shared engine that is altered, `StorageError` for folders
    that cannot be read or written and for a shelf that does not answer.
    """
    folder = engines_folder(cache) / key.name
    if _whole(folder):
        return files_of(key, folder)
    if shelf is None:
        return None
    with _storage(folder), _locked(folder):
        return files_of(key, folder) if _whole(folder) or _fetched(key, folder, shelf) else None


def build_engine(
    key: EngineKey, cache: Path, build: Callable[[EngineFiles], None], progress: Progress, shelf: Shelf | None = None
) -> EngineFiles:
    """The engine, built now by `build` unless it is there or another builder, who is waited for, makes it.

    `build` writes the files it is given names for. With a shelf one of all machines builds, with the timings of those
    before, and the others fetch. Raises what `build` raises, and nothing is left of a build that failed.
    """
    folder = engines_folder(cache) / key.name

    told = ExitStack()

    def waiting() -> None:
        told.enter_context(_telling(f"{key.model}: another process builds its engine, waiting for it", progress))

    with _storage(folder), told, _locked(folder, waiting):
        told.close()
        if shelf is None:
            if not _whole(folder):
                _build(key, folder, build, progress)
            return files_of(key, folder)
        if _whole(folder):
            with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                shared = shelf.fetch(f"{key.name}/{RECORD}", Path(scratch) / RECORD)
            if not shared:
                _share(key, folder, shelf)
            return files_of(key, folder)
        if _fetched(key, folder, shelf):
            return files_of(key, folder)
        with shelf.lock(key.name, waiting):
            told.close()
            if not _fetched(key, folder, shelf):
                _fetch_timings(key, folder, shelf)
                _build(key, folder, build, progress)
                _share(key, folder, shelf)
    return files_of(key, folder)


def _fetched(key: EngineKey, folder: Path, shelf: Shelf) -> bool:
    """Whether the engine was on the shelf; it is in `folder` then. `ModelError` where its record does not fit it."""
    altered = ModelError(
        f"the engine {key.name} is altered", where=shelf.where, hint="delete it there and build it again"
    )
    with _appearing(folder) as (part, appear):
        if not shelf.fetch(f"{key.name}/{RECORD}", part / RECORD):
            return False
        try:
            record = codec.decode((part / RECORD).read_bytes(), EngineRecord)
        except InputError as error:
            raise altered from error
        if record.key != key or any(name != Path(name).name or name == RECORD for name in record.files):
            raise altered
        for name, (sha256, _) in record.files.items():
            if not shelf.fetch(f"{key.name}/{name}", part / name) or _hash(part / name) != sha256:
                raise altered
        appear()
    return True


def _share(key: EngineKey, folder: Path, shelf: Shelf) -> None:
    """Put the engine and the timings of its kind of GPU on the shelf; records come last."""
    record = codec.decode((folder / RECORD).read_bytes(), EngineRecord)
    for name in (*record.files, RECORD):
        shelf.put(folder / name, f"{key.name}/{name}")
    timing = files_of(key, folder).timing
    hashes = {each.name: _hash(each) for each in sorted(timing.iterdir()) if each.is_file() and each.name != TIMINGS}
    if hashes:
        for name in hashes:
            shelf.put(timing / name, f"timing/{timing.name}/{name}")
        (timing / TIMINGS).write_bytes(codec.encode(hashes))
        shelf.put(timing / TIMINGS, f"timing/{timing.name}/{TIMINGS}")


def _fetch_timings(key: EngineKey, folder: Path, shelf: Shelf) -> None:
    """Take over the timings on the shelf where there are none here; what does not fit its record is passed over."""
    timing = files_of(key, folder).timing
    timing.mkdir(parents=True, exist_ok=True)
    if any(timing.iterdir()):
        return
    with tempfile.TemporaryDirectory(dir=timing.parent) as scratch:
        record = Path(scratch) / TIMINGS
        if not shelf.fetch(f"timing/{timing.name}/{TIMINGS}", record):
            return
        try:
            hashes = codec.decode(record.read_bytes(), dict[str, str])
        except InputError:
            return
        for name, sha256 in hashes.items():
            file = Path(scratch) / Path(name).name
            if shelf.fetch(f"timing/{timing.name}/{name}", file) and _hash(file) == sha256:
                file.replace(timing / file.name)


def _build(key: EngineKey, folder: Path, build: Callable[[EngineFiles], None], progress: Progress) -> None:
    started = time.monotonic()
    for left in folder.parent.glob(f"{folder.name}.part-*"):  # of a builder that was killed; its lock is ours now
        shutil.rmtree(left, ignore_errors=True)
    with _appearing(folder) as (part, appear):
        files = files_of(key, folder)
        files.timing.mkdir(parents=True, exist_ok=True)
        names = EngineFiles(part / files.wrapper.name, files.prefix, files.timing)
        with _telling(f"{key.model}: TensorRT builds the engine into {folder}", progress):
            build(names)
        made = {each.name: each for each in sorted(part.iterdir()) if each.is_file()}
        if not any(name == names.wrapper.name or name.endswith(".engine") for name in made):
            raise ModelError("TensorRT left no engine", where=f"model {key.model}", hint="use the device cuda")
        seconds = time.monotonic() - started
        record = EngineRecord(key, seconds, {name: (_hash(each), each.stat().st_size) for name, each in made.items()})
        (part / RECORD).write_bytes(codec.encode(record))
        appear()
    progress(f"{key.model}: engine built in {seconds:.0f} s")


def _whole(folder: Path) -> bool:
    """Whether every file of the record is there with its size."""
    try:
        record = codec.decode((folder / RECORD).read_bytes(), EngineRecord)
        return all((folder / name).stat().st_size == size for name, (_, size) in record.files.items())
    except (OSError, InputError):
        return False


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _appearing(folder: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A new folder to fill, and what puts it in its place; it vanishes with the block otherwise."""
    part = folder.with_name(f"{folder.name}.part-{secrets.token_hex(6)}")
    part.mkdir(parents=True)

    def appear() -> None:
        if folder.exists():  # a damaged one
            shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)

    try:
        yield part, appear
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _locked(folder: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Alone with this name on this machine; `waiting` is called if somebody else is at it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        lock_handle(handle, waiting or (lambda: None))
        yield
    finally:
        os.close(handle)


@contextmanager
def _telling(text: str, progress: Progress) -> Iterator[None]:
    """Says `text` now and, with the seconds gone by, again and again until the block ends."""
    over = threading.Event()
    started = time.monotonic()

    def tell() -> None:
        while not over.wait(SAY_EVERY_S):
            progress(f"{text}, {time.monotonic() - started:.0f} s so far")

    progress(text)
    teller = threading.Thread(target=tell, name="engine build", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


@contextmanager
def _storage(where: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"engines cannot be kept: {error.strerror or error}", where=str(where), hint="name another folder"
        ) from error
