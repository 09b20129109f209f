"""The data of an upload, streamed to its file: resumable, refused early, looked at when it is whole."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from core.errors import Busy, InputError, StorageError
from core.media.guard import Limits, probe_in_child
from farm.api.picture import picture_size
from farm.api.problems import Refused, disk_full
from farm.api.sniff import HEAD_BYTES, check_head, is_picture
from farm.api.turns import Turns, to_its_end
from farm.service import uploads
from farm.service.database import Database
from farm.service.errors import Conflict
from farm.service.records import Problem, UploadPurpose, UploadRow
from farm.store.disk import take_lock

PIECE_BYTES = 1 << 20
TOLD_BYTES = 64 << 20  # how often the table hears how much is here
PROBE_S = 60.0  # of the processor
LEAST_BYTES_A_S = 1024
MAGIC_BYTES = 16
MOST_PICTURE_BYTES = 128 << 20
RESERVE_BYTES = 1 << 30  # of the disk, which the database may lie on too; of a small one a twentieth
FULL = (errno.ENOSPC, errno.EDQUOT)


def check_room(folder: Path, more: int) -> None:
    """507 where `more` bytes in `folder` would leave too little of its disk."""
    disk = shutil.disk_usage(folder)
    if disk.free - more < min(RESERVE_BYTES, disk.total // 20):
        raise disk_full()


class Pace:
    """How fast a body comes: `TooSlow` where it is silent for `silence_s`, or so slow that it could be held for ever.
    Only the time in which it is waited for counts."""

    def __init__(self, silence_s: float) -> None:
        self._silence_s = silence_s
        self._waited_s = 0.0
        self._came = 0

    def came(self, count: int, waited_s: float) -> None:
        """`count` bytes came after `waited_s`."""
        self._waited_s += waited_s
        self._came += count
        if self._waited_s >= self._silence_s:
            if self._came < LEAST_BYTES_A_S * self._waited_s:
                raise TooSlow(f"{self._came} bytes came in {self._waited_s:.0f} s")
            self._waited_s, self._came = 0.0, 0


class TooSlow(Exception):
    """What came in how much time, in words."""


class Part:
    """The file of an upload while it grows; nobody else writes it meanwhile.

    Its methods come from threads, whose call may have been given up before they end. A descriptor that is closed is
    soon another file's, so none is used while it is closed: what comes later is a `StorageError`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._handle: int | None = None
        self._closed = False

    def begin(self, offset: int, size_bytes: int) -> bytes:
        """Open it, to go on at `offset`, which is what is here; the first bytes of what is here. `Conflict` where
        somebody else writes it."""
        with self._lock:
            if self._closed:
                raise self._gone()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not take_lock(handle):
                raise Conflict("this upload is being sent already", hint="wait for the other connection to end")
            here = os.fstat(handle).st_size
            if offset != here:
                raise Refused(
                    HTTPStatus.CONFLICT,
                    f"{here} of {size_bytes} bytes are here, these would begin at {offset}",
                    hint=f"send from byte {here} on, with the header Upload-Offset: {here}",
                    headers={"Upload-Offset": str(here)},
                )
            os.lseek(handle, offset, os.SEEK_SET)
            return os.pread(handle, HEAD_BYTES, 0)

    def write(self, data: bytes) -> None:
        with self._lock:
            handle = self._open()
            check_room(self._path.parent, len(data))
            self._put(handle, data)

    def sync(self) -> None:
        with self._lock:
            os.fsync(self._open())

    def close(self) -> None:
        """When nothing uses it."""
        with self._lock:
            self._closed = True
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def _put(self, handle: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]

    def _open(self) -> int:
        if self._handle is None:
            raise self._gone()
        return self._handle

    def _gone(self) -> StorageError:
        return StorageError("this upload's file is closed", where=self._path.name, hint="send on from where it ends")


async def receive(
    db: Database, row: UploadRow, offset: int, stream: AsyncIterator[bytes], silence_s: float, turns: Turns
) -> UploadRow:
    """Take the data of `row` from byte `offset` on. What was received stays when the connection ends, to be resumed.
    Whole, it is looked at when a turn of `turns` comes.

    A body that is too long, or not what it is for, refuses the upload for good.
    """
    if row.state != "open":
        raise Conflict(f"this upload is {row.state}", hint="begin a new one with POST /v1/uploads")
    path = Path(row.place)
    part = Part(path)
    here = offset
    try:
        with told_of_disks(row.id):
            head = await to_its_end(part.begin, offset, row.size_bytes)
            here = await take_in(db, row, part, here, head, stream, silence_s)
            if here < row.size_bytes:
                return await run_in_threadpool(uploads.received, db, row.tenant, row.id, here)
            await to_its_end(part.sync)
            sha256 = await run_in_threadpool(hash_of, path)
            async with turns.turn(row.tenant):
                return await to_its_end(examine, db, row, path, sha256)
    except ClientDisconnect:
        raise
    except InputError as error:
        if isinstance(error, Conflict):
            raise
        await run_in_threadpool(refuse, db, row, path, error)
        raise
    finally:
        await to_its_end(part.close)


@contextmanager
def told_of_disks(upload_id: str) -> Iterator[None]:
    """What a disk refuses meanwhile, as the service says it."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full() from error
        raise StorageError(error.strerror or str(error), where=upload_id, hint="tell the operator") from error


async def paced(stream: AsyncIterator[bytes], silence_s: float) -> AsyncIterator[bytes]:
    """The pieces of a body. `TooSlow` where it is silent for so long, or its pace is too slow."""
    pieces = aiter(stream)
    clock, pace = asyncio.get_running_loop().time, Pace(silence_s)
    while True:
        asked_s = clock()
        try:
            piece = await asyncio.wait_for(anext(pieces), silence_s)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise TooSlow(f"nothing came for {silence_s:g} s") from None
        pace.came(len(piece), clock() - asked_s)
        yield piece


async def take_in(
    db: Database, row: UploadRow, part: Part, here: int, head: bytes, stream: AsyncIterator[bytes], silence_s: float
) -> int:
    """Write the body piece by piece; how much is here at its end."""
    looked = len(head) >= HEAD_BYTES
    told = here
    buffer = bytearray()

    async def flush() -> None:
        nonlocal looked, head, told
        data = bytes(buffer)
        buffer.clear()
        await to_its_end(part.write, data)
        if not looked:
            head = (head + data)[:HEAD_BYTES]
            if len(head) >= min(HEAD_BYTES, row.size_bytes):
                looked = True
                check_first(row, head)
        if here - told >= TOLD_BYTES:
            told = here
            await run_in_threadpool(uploads.received, db, row.tenant, row.id, here)

    try:
        async for piece in paced(stream, silence_s):
            here += len(piece)
            if here > row.size_bytes:
                raise InputError(
                    f"is longer than the {row.size_bytes} bytes that were announced",
                    where=row.name,
                    hint="begin a new upload with the right size",
                )
            buffer += piece
            if len(buffer) >= PIECE_BYTES:
                await flush()
    except TooSlow as error:
        raise Refused(
            HTTPStatus.REQUEST_TIMEOUT,
            str(error),
            hint="go on from the byte that the header Upload-Offset names",
            headers={"Upload-Offset": str(here), "Connection": "close"},
        ) from None
    finally:
        if buffer:
            await flush()
        if here != told and here < row.size_bytes:
            await run_in_threadpool(uploads.received, db, row.tenant, row.id, here)
    return here


def check_first(row: UploadRow, head: bytes) -> None:
    """`InputError` where a file that begins with `head` cannot be what the upload is for, or is a picture that is
    longer than any: it is read whole."""
    check_head(row.purpose, head, row.name)
    if is_picture(head) and row.size_bytes > MOST_PICTURE_BYTES:
        told = f"is a picture of more than {MOST_PICTURE_BYTES >> 20} MiB"
        raise InputError(told, where=row.name, hint="save it as JPEG, or smaller")


def refuse(db: Database, row: UploadRow, path: Path, error: InputError) -> None:
    """The upload is refused, and its file goes."""
    uploads.refuse(db, row.tenant, row.id, problem_of(row, error))
    path.unlink(missing_ok=True)


def problem_of(row: UploadRow, error: InputError) -> Problem:
    """Why an upload is refused, as its row keeps it."""
    return Problem(type(error).__name__, error.what, where=row.name, hint=error.hint, exit_code=error.exit_code)


def hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def examine(db: Database, row: UploadRow, path: Path, sha256: str) -> UploadRow:
    """Open what is here whole, as the farm will; it is ready then. `InputError` with the upload's own name; 503, and
    the file stays, where the machine did not come to it."""
    try:
        media = facts(path, row.purpose)
    except InputError as error:
        raise InputError(error.what, where=row.name, hint=error.hint) from error
    except Busy as error:
        hint = f"all of it is here; send no bytes with Upload-Offset: {row.size_bytes}, and it is looked at again"
        raise not_looked_at(error, hint, {"Upload-Offset": str(row.size_bytes)}) from error
    return uploads.finish(db, row.tenant, row.id, size_bytes=row.size_bytes, sha256=sha256, media=media)


def not_looked_at(error: Busy, hint: str, headers: Mapping[str, str] | None = None) -> Refused:
    """What is told where the machine has too much to do to look at a file: no word against the file."""
    told = f"{error.what}: the service has too much to do"
    return Refused(HTTPStatus.SERVICE_UNAVAILABLE, told, hint=hint, headers=headers)


def facts(path: Path, purpose: UploadPurpose) -> dict[str, object]:
    """What the file is, in JSON; `InputError` where it is not what it is for. A child process decodes it."""
    with path.open("rb") as file:
        head = file.read(MAGIC_BYTES)
    if purpose != "target" and is_picture(head):
        height, width = picture_size(path)
        return {"kind": "picture", "width": width, "height": height}
    if purpose == "reference":
        raise InputError("is not a picture", hint="send a JPEG, PNG or WebP image")
    return film_facts(path)


def film_facts(path: Path) -> dict[str, object]:
    """What the film is, in JSON; `InputError` where it is none. Only a child process opens it."""
    return {"kind": "film", **asdict(probe_in_child(path, Limits(), PROBE_S))}
