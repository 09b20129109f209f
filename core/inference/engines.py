"""TensorRT engines on disk: named by all that they depend on, built once, shared, never half there.

    <cache>/engines/
      timing/<capability>/            timings of kernels, shared by all models
      <model>-<digest>.lock           held by the one who builds or fetches
      <model>-<digest>/
        <model>-<digest>_ctx.onnx     the wrapper that is loaded instead of the model
        <model>-<digest>*.engine      what the wrapper names, beside it
        engine.json                   the key, seconds of the build, and sha256 and size of every file; written last

ONNX Runtime reuses a cached engine for a graph of the same name with another static shape (its issue 32254), and an
engine runs only on the kind of GPU, with the TensorRT and the driver that it was built for. So the folder's and the
files' names hold the digest of all of that. A folder appears by rename, whole or not at all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from core import codec
from core.errors import InputError, ModelError, StorageError
from core.inference.providers import EngineFiles
from core.records.models import Precision

RECORD = "engine.json"
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
    timing = folder.parent / "timing" / key.capability
    return EngineFiles(wrapper=folder / f"{key.name}_ctx.onnx", prefix=key.name, timing=timing)


def find_engine(key: EngineKey, cache: Path, shared: Path | None = None) -> EngineFiles | None:
    """The engine if it is in the cache, or in the shared folder, out of which it is copied and its hashes checked.

    None where it is in neither. Raises `ModelError` for a shared engine that is altered, `StorageError` for folders
    that cannot be read or written.
    """
    folder = engines_folder(cache) / key.name
    if _whole(folder):
        return files_of(key, folder)
    if shared is None or not _whole(shared / key.name):
        return None
    with _storage(folder), _locked(folder):
        if not _whole(folder):
            with _appearing(folder) as part:
                shutil.copytree(shared / key.name, part, dirs_exist_ok=True)
                _check_hashes(part, shared / key.name)
    return files_of(key, folder)


def build_engine(
    key: EngineKey, cache: Path, build: Callable[[EngineFiles], None], progress: Progress, shared: Path | None = None
) -> EngineFiles:
    """The engine, built now by `build` unless it is there or another builder, who is waited for, makes it.

    `build` writes the files it is given names for. The result is also put into the shared folder. Raises what
    `build` raises, and nothing is left of a build that failed.
    """
    folder = engines_folder(cache) / key.name
    if find_engine(key, cache, shared) is None:
        waiting = f"{key.model}: another process builds its engine, waiting for it"
        with _storage(folder), _locked(folder, lambda: progress(waiting)):
            if not _whole(folder):
                _build(key, folder, build, progress)
    if shared is not None and not _whole(shared / key.name):
        with _storage(shared), _appearing(shared / key.name) as part:
            shutil.copytree(folder, part, dirs_exist_ok=True)
    return files_of(key, folder)


def _build(key: EngineKey, folder: Path, build: Callable[[EngineFiles], None], progress: Progress) -> None:
    started = time.monotonic()
    for left in folder.parent.glob(f"{folder.name}.part-*"):  # of a builder that was killed; its lock is ours now
        shutil.rmtree(left, ignore_errors=True)
    with _appearing(folder) as part:
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
    progress(f"{key.model}: engine built in {seconds:.0f} s")


def _whole(folder: Path) -> bool:
    """Whether every file of the record is there with its size."""
    try:
        record = codec.decode((folder / RECORD).read_bytes(), EngineRecord)
        return all((folder / name).stat().st_size == size for name, (_, size) in record.files.items())
    except (OSError, InputError):
        return False


def _check_hashes(folder: Path, origin: Path) -> None:
    record = codec.decode((folder / RECORD).read_bytes(), EngineRecord)
    for name, (sha256, _) in record.files.items():
        if _hash(folder / name) != sha256:
            raise ModelError(f"engine {name} is altered", where=str(origin), hint="delete it and build it again")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A new folder to fill; it takes its place when the block ends well, and vanishes otherwise."""
    part = folder.with_name(f"{folder.name}.part-{secrets.token_hex(6)}")
    part.mkdir(parents=True)
    try:
        yield part
        if folder.exists():  # a damaged one, or one that another just finished: equal in content, or worthless
            shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _locked(folder: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Alone with this name on this machine; `waiting` is called if somebody else is at it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.with_name(f"{folder.name}.lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
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
