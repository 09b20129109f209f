"""The renderer: what runs inside one actor, or in this process. Sets its models up once and lives with them.

It reads what an order names out of the order's job's store and publishes what it makes there; orders and receipts are
all that travels. It belongs to no job: what it loaded for one stays for the next.

Two orders may run at once, each on a thread of its own: while one renders, the next opens its film, decodes up to its
first frames and waits for its turn. One encoder at a time keeps a renderer's memory within bounds; it costs no
throughput, because an encoder has threads of its own.
"""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from actors.work import Heartbeat, JobStore, Order, Receipt
from core import codec
from core.errors import DISK_FULL, ModelError, PlanError, StorageError
from core.kept import Kept
from core.media.stamp import check_stamp, unchanged
from core.records import (
    AnalysisOrder,
    AnalysisReceipt,
    FaceTable,
    FileStamp,
    MediaIndex,
    ModelUse,
    Role,
    SegmentReceipt,
    SourceIdentity,
    WorkOrder,
)

if TYPE_CHECKING:  # the models and OpenCV are loaded by the first order that needs them, never for --swapper none
    from core.faces.analyse import FaceModels
    from core.inference.providers import DeviceSpec, Wish
    from core.inference.sessions import Sessions
    from core.inference.shelf import Shelf
    from core.swap.stages import OpenRole, RoleOpener

INSISTED = ("cuda", "tensorrt")  # devices that are not there on every machine
SAME_MODELS = "give every machine the same models, then run the same command again"
WAIT_S = 0.2
TARGETS_HELD = 2
IDENTITIES_HELD = 64  # source faces of up to 1 MB
ReceiptT = TypeVar("ReceiptT", AnalysisReceipt, SegmentReceipt)


@dataclass(frozen=True)
class WorkerSettings:
    """Where the models are, and how many threads one segment may use.

    `threads` (decoder and encoder of one segment) is the same for every worker of a job, because encoders give other
    bytes with another number of threads; `model_threads` is this worker's share of the cores; `device` is where its
    models run, `shelf` where machines share TensorRT engines and `gpu_mem_limit_bytes` what one model's session
    may take of a GPU (core.inference.providers); `place` makes the path of a film, which may be far, of its name.
    `models` are the ids of those that every job is known to need.
    """

    model_cache: str
    threads: int
    model_threads: int
    device: Wish = "auto"
    shelf: Shelf | None = None
    gpu_mem_limit_bytes: int | None = None
    place: Callable[[str], Path] = Path
    models: tuple[str, ...] = ()

    def device_spec(self) -> DeviceSpec:
        """What the sessions of this renderer ask for."""
        from core.inference.providers import DeviceSpec  # noqa: PLC0415 - loads ONNX Runtime

        return DeviceSpec(
            wish=self.device,
            threads=self.model_threads,
            shelf=self.shelf,
            gpu_mem_limit_bytes=self.gpu_mem_limit_bytes,
        )


@dataclass(frozen=True)
class WorkerInfo:
    """Who a renderer is."""

    pid: int
    node: str


class Worker:
    """Analyses and renders segments, two at a time, of any jobs."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self.words = ""  # the last of what takes minutes and is told again and again: an engine that is built
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._indexes: Kept[tuple[JobStore, str], MediaIndex] = Kept(TARGETS_HELD)
        self._identities: Kept[str, SourceIdentity] = Kept(IDENTITIES_HELD)
        self._targets: Kept[str, Path] = Kept(TARGETS_HELD)
        self._sessions: Sessions | None = None
        self._models: tuple[tuple[str, str], FaceModels] | None = None
        self._opener: RoleOpener | None = None

    def setup(self) -> WorkerInfo:
        """Say who this is. `ModelError` for what every order would end with here: a device that was insisted on and
        does not work, a model that is missing or has another size than it had."""
        settings = self._settings
        if settings.device in INSISTED:
            with self._lock:
                _ = self._loaded().providers
        if settings.models:
            from core.inference.manifest import load_manifests, manifest_folder  # noqa: PLC0415
            from core.inference.weights import present  # noqa: PLC0415 - loads onnx

            manifests, cache = load_manifests(manifest_folder()), Path(settings.model_cache)
            for name in settings.models:
                if name not in manifests or present(manifests[name], cache) is None:
                    raise ModelError(f"model {name} is not in the cache", where=str(cache), hint=SAME_MODELS)
        return WorkerInfo(os.getpid(), platform.node())

    def work(self, order: Order, attempt: int, heartbeat: Heartbeat, store: JobStore) -> Receipt:
        """Do one order and publish its result, or hand back what an attempt published that died before it could say so.

        Raises FarmError; an operating system's refusal is a StorageError. A film that changes meanwhile is an
        InputError, and nothing of it is published.
        """
        try:
            with unchanged(self._target(order), order.stamp) as film:
                if isinstance(order, AnalysisOrder):
                    known = published(store, f"analysis/{order.id}", AnalysisReceipt)
                    return known or self.analyse(order, attempt, heartbeat, film, store)
                made = published(store, f"segments/{order.id}", SegmentReceipt)
                return made or self.render(order, attempt, heartbeat, film, store)
        except OSError as error:
            full = error.errno in DISK_FULL
            raise StorageError(
                "the disk is full" if full else error.strerror or str(error),
                where=str(error.filename or store.path("")),
                hint=f"{'free some space' if full else 'check the disk'}, then run the same command again",
            ) from error

    def analyse(
        self, order: AnalysisOrder, attempt: int, heartbeat: Heartbeat, film: FileStamp, store: JobStore
    ) -> AnalysisReceipt:
        """Look for faces in one segment of the film with the stamp `film`; faces and shots are published as Parquet."""
        from core.faces.analyse import look_at_segment  # noqa: PLC0415 - loads OpenCV
        from core.faces.shots import write_scores  # noqa: PLC0415
        from core.faces.table import TableWriter  # noqa: PLC0415 - loads pyarrow

        started = time.monotonic()
        models = self._face_models(order.detector, order.recogniser)
        frames: set[int] = set()
        scratch, scored = store.scratch(".parquet"), store.scratch(".shots.parquet")
        try:
            with TableWriter(scratch) as writer:

                def found(faces: FaceTable) -> None:
                    writer.add(faces)
                    frames.update(faces.frame.tolist())

                shots, damage = look_at_segment(
                    self._target(order),
                    self._film(order, store),
                    order.segment,
                    models,
                    found,
                    heartbeat=heartbeat,
                    detect_every=order.detect_every,
                )
            write_scores(shots, scored)
            name = f"analysis/{order.id}/{attempt}-{secrets.token_hex(4)}"
            receipt = AnalysisReceipt(
                order_id=order.id,
                segment=order.segment.index,
                file=f"{name}.parquet",
                sha256=sha256_of(scratch),
                size_bytes=scratch.stat().st_size,
                frames=order.segment.frames,
                faces=writer.rows,
                frames_with_faces=len(frames),
                seconds={"analyse": time.monotonic() - started},
                provider=models.provider,
                device=models.device,
                attempt=attempt,
                damage=damage,
                models=self._uses(order),
                notes=self._notes(order),
                shots=f"{name}.shots.parquet",
                shots_sha256=sha256_of(scored),
            )
            check_stamp(self._target(order), film)
            store.adopt(scored, receipt.shots)
            store.adopt(scratch, receipt.file)
        finally:
            scratch.unlink(missing_ok=True)
            scored.unlink(missing_ok=True)
        return publish(store, f"analysis/{order.id}", receipt, AnalysisReceipt)

    def render(
        self, order: WorkOrder, attempt: int, heartbeat: Heartbeat, film: FileStamp, store: JobStore
    ) -> SegmentReceipt:
        """Render one segment of the film with the stamp `film`; the file holds one video stream and no other."""
        from core.swap.segment import render_segment  # noqa: PLC0415 - the driver imports this module too

        scratch = store.scratch(".mp4")
        turn = _Turn(self._turn, heartbeat)
        try:
            made = render_segment(
                source=self._target(order),
                index=self._film(order, store),
                order=order,
                faces=faces_of(order, store),
                roles=self._opened(order.roles, store),
                output=scratch,
                threads=self._settings.threads,
                heartbeat=turn.heartbeat,
                sessions=self._models_open(order),
            )
            name = f"segments/{order.id}/{attempt}-{secrets.token_hex(4)}.mp4"
            receipt = replace(
                made,
                order_id=order.id,
                segment=order.segment.index,
                file=name,
                attempt=attempt,
                models=self._uses(order),
                notes=self._notes(order),
            )
            check_stamp(self._target(order), film)
            store.adopt(scratch, name)
        finally:
            turn.end()
            scratch.unlink(missing_ok=True)
        return publish(store, f"segments/{order.id}", receipt, SegmentReceipt)

    # ------------------------------------------------------------ what stays loaded

    def _target(self, order: Order) -> Path:
        """The film's path, one and the same for all orders of a film: a far one keeps what was read of it."""
        return self._targets.get(order.target, lambda: self._settings.place(order.target))

    def _film(self, order: Order, store: JobStore) -> MediaIndex:
        index = self._indexes.get((store, order.index), lambda: codec.decode(store.read(order.index), MediaIndex))
        if index.sha256 != order.target_sha256:
            raise PlanError("the table in the store is not of the film that the order names", where=order.index)
        return index

    def _opened(self, roles: Sequence[Role], store: JobStore) -> list[OpenRole]:
        """The roles with their faces and models; those of the last ones are kept."""
        if not roles:
            return []
        named = [(role, self._identities.get(role.identity_sha256, partial(source_of, role, store))) for role in roles]
        with self._lock:
            if self._opener is None:
                from core.swap.stages import RoleOpener  # noqa: PLC0415 - only for jobs that replace faces

                self._opener = RoleOpener(self._loaded)
            return self._opener.open(named)

    def _face_models(self, detector: str, recogniser: str) -> FaceModels:
        with self._lock:
            key = (detector, recogniser)
            if self._models is None or self._models[0] != key:
                from core.faces.analyse import open_models  # noqa: PLC0415 - loads ONNX Runtime

                self._models = (key, open_models(self._loaded(), detector, recogniser))
            return self._models[1]

    def _models_open(self, order: WorkOrder) -> Sessions | None:
        if not order.models:
            return None
        with self._lock:
            return self._loaded()

    def _loaded(self) -> Sessions:
        """The sessions of this renderer's whole life. With the lock held."""
        if self._sessions is None:
            from core.inference.sessions import Sessions  # noqa: PLC0415 - loads ONNX Runtime

            spec = self._settings.device_spec()
            self._sessions = Sessions(Path(self._settings.model_cache), spec, slow=self._say)
        return self._sessions

    def _say(self, words: str) -> None:
        self.words = words

    def _notes(self, order: Order) -> tuple[str, ...]:
        """Why the order's models did not run as they were wished to."""
        with self._lock:
            return self._sessions.notes if order.models and self._sessions is not None else ()

    def _uses(self, order: Order) -> tuple[ModelUse, ...]:
        """How the models that the order names ran; `ModelError` when a file is another than the order's."""
        named = dict(order.models)
        with self._lock:
            uses = self._sessions.uses() if self._sessions is not None else ()
        uses = tuple(use for use in uses if use.id in named)
        for use in uses:
            if use.sha256 != named[use.id]:
                raise ModelError(
                    f"model {use.id} here is not the file that the job began with",
                    where=self._settings.model_cache,
                    hint=SAME_MODELS,
                )
        return uses


def source_of(role: Role, store: JobStore) -> SourceIdentity:
    """The face that the role names; `PlanError` where the store's is another."""
    data = store.read(role.identity)
    if hashlib.sha256(data).hexdigest() != role.identity_sha256:
        raise PlanError("the source face in the store is not the one the order names", where=role.identity)
    return codec.decode(data, SourceIdentity)


def faces_of(order: WorkOrder, store: JobStore) -> FaceTable:
    """The rows of the cast that the order names; `PlanError` where the store's are others."""
    if order.faces is None:
        return FaceTable.empty()
    from core.faces.table import read_table  # noqa: PLC0415 - loads pyarrow

    path = store.path(order.faces)
    if hashlib.sha256(path.read_bytes()).hexdigest() != order.faces_sha256:
        raise PlanError("the face table in the store is not the one the order names", where=str(path))
    return read_table(path)


def publish(store: JobStore, folder: str, receipt: ReceiptT, kind: type[ReceiptT]) -> ReceiptT:
    """Make the result count. Where another attempt was first, its receipt counts and our file goes."""
    name = f"{folder}/DONE.json"
    while not store.write(name, codec.encode(receipt)):
        known = published(store, folder, kind)
        if known is not None:
            for name in files_of(receipt):
                store.discard(name)
            return known
    return receipt


def published(store: JobStore, folder: str, kind: type[ReceiptT]) -> ReceiptT | None:
    """The receipt of an attempt that finished; one whose files are gone, or not whole in size, is taken back."""
    name = f"{folder}/DONE.json"
    receipt = store.load(name, kind)
    if receipt is None:
        return None
    whole = store.size(receipt.file) == receipt.size_bytes
    if not whole or not all(store.exists(name) for name in files_of(receipt)):
        store.discard(name)
        return None
    return receipt


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(receipt: Receipt) -> tuple[str, ...]:
    """The names in the store of all that an order made beside its receipt."""
    shots = receipt.shots if isinstance(receipt, AnalysisReceipt) else ""
    return (receipt.file, shots) if shots else (receipt.file,)


class _Turn:
    """A segment's turn to render: taken at its first frame, given back when its file is finished."""

    def __init__(self, lock: threading.Lock, heartbeat: Heartbeat) -> None:
        self._lock = lock
        self._heartbeat = heartbeat
        self._mine = False

    def heartbeat(self, frames: int) -> None:
        while not self._mine:
            self._mine = self._lock.acquire(timeout=WAIT_S)
            if not self._mine:
                self._heartbeat(0)  # raises when the job is being stopped
        self._heartbeat(frames)

    def end(self) -> None:
        if self._mine:
            self._mine = False
            self._lock.release()
