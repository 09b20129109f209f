"""What is sent and received piece by piece, the same for both clients."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from core.errors import FarmError, InputError, StorageError
from farm.api.schemas import JobView
from farm.client import calls, retry
from farm.client.calls import Call, JobEvent, PartView, ServiceError, UploadView
from farm.client.sse import Message

PIECE_BYTES = 1 << 20
PARTS_AT_ONCE = 4
GO_ON = frozenset({408, 409})  # the service says from where
UNFINISHED = frozenset({409})  # what ends an upload in parts: some are to be put again
LAST = frozenset({"end", "gone"})
LOOK_S = 2.0
MOST_HELD = 30  # looks at an upload that another line holds: twice the 30 s after which the service ends a silent one


def readable(path: Path) -> Path:
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint="check the path")
    return path


def unchanged(path: Path, row: UploadView) -> None:
    """`InputError` where the file is not as long any more as it was when it was announced."""
    size = readable(path).stat().st_size
    if size != row.size_bytes:
        told = f"the file had {row.size_bytes} bytes when it was announced, and has {size} now"
        raise InputError(told, where=str(path), hint="send it again when nobody writes to it")


def head_call(path: Path, row: UploadView) -> Call | None:
    """What sends the service the file's first bytes, where it asks for them before any part is put."""
    if "head" not in row.links:
        return None
    unchanged(path, row)
    with path.open("rb") as file:
        return calls.send_head(row.id, file.read(row.head_bytes or 0))


def taken(row: UploadView, path: Path) -> UploadView:
    """The upload, which is ready; `InputError` where the service refused what came."""
    if row.state == "ready":
        return row
    problem = row.problem
    raise InputError(
        problem.detail if problem is not None else f"the upload is {row.state}",
        where=str(path),
        hint=problem.next_step if problem is not None else "send it again",
    )


def in_part(path: Path) -> ServiceError:
    return ServiceError("the file came in part", where=str(path), hint="send it again")


def broken(error: Exception, path: Path) -> ServiceError:
    return ServiceError(f"the connection broke: {error}", where=str(path), hint="send it again")


def silent(where: str) -> FarmError:
    return ServiceError("the service does not answer", where=where, hint="is it running?")


def looks(row: UploadView, sent: int, failure: httpx.Response | httpx.TransportError) -> bool:
    """Whether the service has all bytes of an upload and still looks at them, which takes as long as it takes: the
    file is hashed, and others are looked at before. `failure` is how the PUT of what was left after `sent` ended."""
    if sent < row.size_bytes:
        return False
    if isinstance(failure, httpx.Response):  # a proxy says 504 when it does not wait so long
        return failure.status_code in {HTTPStatus.CONFLICT, HTTPStatus.GATEWAY_TIMEOUT}
    return isinstance(failure, httpx.ReadTimeout)


def held(failure: httpx.Response | httpx.TransportError) -> bool:
    """Whether the service still hears another line that sends this upload: that of a try before, whose end it was not
    told of. A wrong offset is 409 too, and says the right one."""
    if not isinstance(failure, httpx.Response):
        return False
    return failure.status_code == HTTPStatus.CONFLICT and "Upload-Offset" not in failure.headers


class Patience:
    """How long an upload is waited for."""

    def __init__(self, tries: int, draw: random.Random) -> None:
        self._tries, self._draw = tries, draw
        self.anew()

    def anew(self) -> None:
        """It got on: a line that breaks often is no end."""
        self._waits = retry.waits(self._tries, self._draw)
        self._held = 0

    def wait_s(self, row: UploadView, sent: int, failure: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds to the next try after `failure`, which is how the PUT of what was left after `sent` ended; None where
        there is none."""
        if looks(row, sent, failure):
            return LOOK_S
        if held(failure):
            self._held += 1
            return LOOK_S if self._held <= MOST_HELD else None
        return next(self._waits, None)


@dataclass(frozen=True)
class Known:
    """A file of this machine, by what the service knows of one that it has."""

    purpose: str
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path, purpose: str) -> Known:
        return cls(purpose, sha256_of(path), path.stat().st_size)

    def fits(self, row: UploadView) -> bool:
        told = row.purpose, row.sha256, row.size_bytes
        return row.state == "ready" and told == (self.purpose, self.sha256, self.size_bytes)


def not_reached(failure: httpx.TransportError | None) -> bool:
    """Whether the call certainly was not taken: to send it again is safe."""
    return isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)


def send_call(upload_id: str, offset: int) -> Call:
    headers = {"Content-Type": "application/octet-stream", "Upload-Offset": str(offset)}
    return Call("PUT", f"/v1/uploads/{upload_id}/data", headers=headers)


def pieces(file: BinaryIO, offset: int, size: int, told: Callable[[int, int], None] | None) -> Iterator[bytes]:
    """The file from `offset` on."""
    file.seek(offset)
    while piece := file.read(PIECE_BYTES):
        yield piece
        offset += len(piece)
        if told is not None:
            told(offset, size)


async def part_pieces_of(path: Path, part: PartView, sent: Callable[[int], None]) -> AsyncIterator[bytes]:
    """`part_pieces` for a client that awaits."""
    made = part_pieces(path, part, sent)
    while (piece := await asyncio.to_thread(next, made, None)) is not None:
        yield piece


async def pieces_of(
    file: BinaryIO, offset: int, size: int, told: Callable[[int, int], None] | None
) -> AsyncIterator[bytes]:
    """The same for a client that awaits."""
    made = pieces(file, offset, size, told)
    while (piece := await asyncio.to_thread(next, made, None)) is not None:
        yield piece


def part_pieces(path: Path, part: PartView, sent: Callable[[int], None]) -> Iterator[bytes]:
    """One part of a file; `sent` hears how many bytes went."""
    left = part.size_bytes
    with path.open("rb") as file:
        file.seek(part.first_byte)
        while left and (piece := file.read(min(PIECE_BYTES, left))):
            yield piece
            left -= len(piece)
            sent(len(piece))


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Sent:
    """How much of a file is sent, when several parts of it go at once."""

    def __init__(self, size: int, told: Callable[[int, int], None] | None) -> None:
        self._size, self._told = size, told
        self._lock = threading.Lock()
        self._here = 0

    def begin(self, here: int) -> None:
        self._here = here

    def more(self, count: int) -> None:
        with self._lock:
            self._here = min(self._size, self._here + count)
            if self._told is not None:
                self._told(self._here, self._size)


class Wave:
    """Parts of a file that are put together, several at once. The first 429 ends it: what is not begun by then would
    meet one too, when all of its bytes are sent. Its methods may be called from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told_s: list[float] = []
        self.over = False
        self.failed: list[FarmError] = []

    def broke(self, error: httpx.TransportError) -> None:
        """The line of a part did."""
        self.failed.append(broken(error, self._path))

    def answered(self, answer: httpx.Response, *, own: bool) -> None:
        """A part was, by the service (`own`) or its bucket."""
        if answer.is_success:
            return
        self.over = self.over or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
        self._told_s.append(retry.told_wait(answer))
        self.failed.append(put_refused(answer, self._path, own=own))

    @property
    def told_s(self) -> float:
        """What it was asked to wait, in seconds."""
        return max(self._told_s, default=0.0)


def put_refused(answer: httpx.Response, path: Path, *, own: bool) -> FarmError:
    """Why the service (`own`) or its bucket did not take a part: what a bucket says is XML for programs."""
    if own:
        return calls.refusal(answer.status_code, answer.content, str(path))
    return StorageError(
        f"the service's bucket answers {answer.status_code} to a part of the file",
        where=str(path),
        hint="send it again; if that does not help, tell the operator",
    )


def cast_call(job_id: str, cast: str | Mapping[str, Any]) -> Call:
    path = f"{calls.job(job_id)}/cast"
    if isinstance(cast, str):
        return Call("PUT", path, content=cast.encode(), headers={"Content-Type": "application/toml"})
    return Call("PUT", path, json=dict(cast))


def event_of(message: Message) -> JobEvent:
    data = json.loads(message.data)
    if message.event == "job":
        return JobEvent(None, "job", data, JobView.model_validate(data))
    return JobEvent(int(message.id) if message.id else None, message.event, data)


class Part:
    """A film that is being fetched, beside its name until it is whole."""

    def __init__(self, target: Path, sha256: str, size_bytes: int) -> None:
        if target.is_dir():
            raise InputError("is a folder", where=str(target), hint="give the file's name")
        if not target.parent.is_dir():
            raise InputError("no such folder", where=str(target.parent), hint="create it first")
        self._target = target
        self._sha256 = sha256
        self._size = size_bytes
        self._file = target.with_name(f".{target.name}.{sha256[:12]}.part")

    @property
    def here(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    @property
    def whole(self) -> bool:
        return self.here >= self._size

    def range(self) -> dict[str, str]:
        return {"Range": f"bytes={self.here}-"} if self.here else {}

    def write(self, piece: bytes, *, fresh: bool) -> None:
        """Write what comes; an answer that is not a continuation begins anew."""
        with self._file.open("wb" if fresh else "ab") as file:
            file.write(piece)

    def publish(self) -> Path:
        """Give it its name; `StorageError` where it is not what the service made."""
        with self._file.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if found != self._sha256:
            self._file.unlink()
            raise StorageError("what came is not what was made", where=str(self._target), hint="fetch it again")
        self._file.replace(self._target)
        return self._target
