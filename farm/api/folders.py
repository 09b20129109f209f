"""Uploads that come in parts into a folder, which every process that answers calls sees: each part is written where it
belongs in the upload's file, and a file of marks beside it, a byte for each part, says which are there.

A mark is set when the part is on the disk, and taken away before the first byte of the part is written again: what a
broken line or a replica that died left is not marked, and is asked for once more. Whoever writes a part holds a shared
lock of the upload's file, and looks after that whether the upload still takes parts; whoever puts them together holds
the lock alone until the row says that they are. So no part can change a file that is whole.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from core.errors import InputError
from farm.api import receiving
from farm.api.parting import Part, StillSent, check_all, parts_of
from farm.api.problems import Refused
from farm.api.receiving import PIECE_BYTES, TooSlow, paced, told_of_disks
from farm.api.turns import to_its_end
from farm.service import uploads
from farm.service.database import Database
from farm.service.errors import Conflict, NotFound
from farm.service.places import PRIVATE
from farm.service.records import UploadRow
from farm.store.disk import take_lock

REF = "folder"  # upload_ref of an upload whose parts go into a folder
THERE = b"\1"
CLOSE = {"Connection": "close"}  # what is left of a body would be the next call
OVER = "wait for its end"


@dataclass(frozen=True)
class Folders:
    """The `PartStore` of a service whose files lie in a folder. `prefix`: where a proxy mounts the service."""

    prefix: str = ""

    def begin(self, place: str) -> str:
        """The file of marks is made before anybody looks for it: a machine that shares the folder by NFS remembers for
        a while that a file was not there. The first part that comes makes the upload's own."""
        marks = _marks_of(Path(place))
        with told_of_disks(Path(place).name):
            marks.parent.mkdir(parents=True, exist_ok=True)
            marks.touch(PRIVATE)
        return REF

    def end(self, place: str, ref: str) -> None:
        """The marks go: the upload was removed, and may be cleared up already, or all of its parts are put together.
        What the disk does not remove now goes with the upload."""
        del ref
        with suppress(OSError):
            forget_marks(place)

    def there(self, place: str, ref: str, size_bytes: int) -> set[int]:
        """The numbers of the parts that are marked."""
        del ref
        with told_of_disks(Path(place).name):
            marks = _marks(Path(place))
        return {part.number for part in parts_of(size_bytes) if marks[part.number - 1 : part.number] == THERE}

    def address(self, place: str, ref: str, part: Part) -> str:
        """Of this service."""
        del ref
        return f"{self.prefix}/v1/uploads/{Path(place).name}/parts/{part.number}"

    @contextmanager
    def finishing(self, place: str, ref: str, size_bytes: int) -> Iterator[None]:
        """All parts are there, and no other one is written until the end of the context."""
        check_all(parts_of(size_bytes), self.there(place, ref, size_bytes))
        with told_of_disks(Path(place).name), Path(place).open("rb+") as file:
            if not take_lock(file.fileno()):
                raise StillSent("a part of this upload is still being sent", hint=OVER)
            check_all(parts_of(size_bytes), self.there(place, ref, size_bytes))  # one may have been begun again
            yield


class PartFile(receiving.Part):
    """One part of an upload while it comes in: the upload's file, open where the part belongs."""

    def __init__(self, db: Database, row: UploadRow, part: Part) -> None:
        super().__init__(Path(row.place))
        self._db, self._row, self._part = db, row, part
        self._begun = False

    def open(self) -> None:
        """Open the file; nothing of it changes yet. `NotFound` or `Conflict` where the upload takes no parts any
        more."""
        with self._lock:
            if self._closed:
                raise self._gone()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if not take_lock(handle, fcntl.LOCK_SH):
                raise Conflict("the parts of this upload are being put together", hint=OVER)
            self._taken(_taking)
            os.lseek(handle, self._part.first, os.SEEK_SET)

    def whole(self) -> UploadRow:
        """All of the part is written: it is on the disk, and marked then."""
        self.sync()
        _mark(self._path, self._part.number, there=True)
        marks = _marks(self._path)
        sizes = [part.size for part in parts_of(self._row.size_bytes) if marks[part.number - 1 : part.number] == THERE]
        return self._taken(lambda db, tenant, name: uploads.received(db, tenant, name, sum(sizes)))

    def _put(self, handle: int, data: bytes) -> None:
        """A copy that breaks off before its first byte is written leaves the mark of a part that is whole; one that
        breaks off after it leaves none."""
        if not self._begun:
            _mark(self._path, self._part.number, there=False)
            self._begun = True
        super()._put(handle, data)

    def _taken(self, ask: Callable[[Database, str, str], UploadRow]) -> UploadRow:
        """What `ask` says of the upload; where it says no, what this made of one that is over goes."""
        try:
            return ask(self._db, self._row.tenant, self._row.id)
        except (NotFound, Conflict):
            if self._over():
                self._forget()
            raise

    def _over(self) -> bool:
        """Whether nobody reads or writes the upload ever again: it was removed, or refused."""
        try:
            return uploads.get(self._db, self._row.tenant, self._row.id).state == "refused"
        except NotFound:
            return True

    def _forget(self) -> None:
        """Remove what may lie here since the upload was cleared up, because nobody comes again to do it. Others may
        have the file open: they write the rest of their part to a file without a name, and come here at its end."""
        for file in (self._path, _marks_of(self._path)):
            file.unlink(missing_ok=True)


def _taking(db: Database, tenant: str, upload_id: str) -> UploadRow:
    """The upload; `Conflict` where it takes no parts any more."""
    row = uploads.get(db, tenant, upload_id)
    if row.state != "open" or row.upload_ref != REF:
        raise Conflict("this upload takes no parts any more", hint="see the upload")
    return row


async def receive_part(
    db: Database, row: UploadRow, part: Part, stream: AsyncIterator[bytes], silence_s: float
) -> UploadRow:
    """Write the body as this part of `row`, wherever others are. 413 where it is longer than the part, `InputError`
    where it is shorter: it is to be sent again then, all of it."""
    file = PartFile(db, row, part)
    try:
        with told_of_disks(row.id):
            await to_its_end(file.open)
            await _take_in(file, part, stream, silence_s)
            return await to_its_end(file.whole)
    finally:
        await to_its_end(file.close)


async def _take_in(file: PartFile, part: Part, stream: AsyncIterator[bytes], silence_s: float) -> None:
    came, buffer = 0, bytearray()
    try:
        async for piece in paced(stream, silence_s):
            came += len(piece)
            if came > part.size:
                raise too_long(part)
            buffer += piece
            if len(buffer) >= PIECE_BYTES:
                await to_its_end(file.write, bytes(buffer))
                buffer.clear()
    except TooSlow as error:
        raise Refused(HTTPStatus.REQUEST_TIMEOUT, str(error), hint="send this part again", headers=CLOSE) from None
    if came < part.size:
        hint = f"send this part again, all {part.size} bytes"
        raise InputError(f"{came} bytes of part {part.number} came", hint=hint)
    await to_its_end(file.write, bytes(buffer))


def too_long(part: Part) -> Refused:
    told = f"part {part.number} has {part.size} bytes, and more came"
    hint = "send what `parts` lists, a part at a time"
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, told, hint=hint, headers=CLOSE)


def forget_marks(place: str) -> None:
    """Remove the marks of an upload that is whole."""
    _marks_of(Path(place)).unlink(missing_ok=True)


def _marks_of(file: Path) -> Path:
    """The name that farm.service.clearing removes with the upload's file."""
    return file.with_name(f"{file.name}.parts")


def _marks(file: Path) -> bytes:
    """The lock is also what makes a machine that shares the folder look at what is there now."""
    try:
        with _marks_of(file).open("rb") as marks:
            fcntl.flock(marks, fcntl.LOCK_SH)
            return marks.read()
    except FileNotFoundError:
        return b""


def _mark(file: Path, number: int, *, there: bool) -> None:
    try:
        handle = os.open(_marks_of(file), os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if there else 0), 0o600)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.pwrite(handle, THERE if there else b"\0", number - 1)
        os.fsync(handle)
    finally:
        os.close(handle)
