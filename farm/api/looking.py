"""What came in parts, looked at as the farm will open it: size, hash, first megabyte, headers.

Reading all of a long film takes longer than a call may: the look goes on in a thread while calls come and go, and
whoever asks meanwhile is told to come again. It begins when a turn of its tenant's comes. The row says that somebody
looks, with a sign of life every few seconds, so that no two replicas read the same film, and one that dies in the
middle is followed by the next that is asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from core.errors import Busy, FarmError, InputError, StorageError
from core.niceness import go_last
from farm.api.buckets import HEAD_BYTES, head_of
from farm.api.folders import forget_marks
from farm.api.parting import head_bytes_of, is_far
from farm.api.receiving import check_first, facts, film_facts, hash_of, not_looked_at, problem_of, told_of_disks
from farm.api.sniff import is_picture
from farm.api.turns import Turns
from farm.paths import place as path_of
from farm.service import uploads
from farm.service.database import Database
from farm.service.errors import Conflict, Unreachable
from farm.service.records import UploadRow
from farm.store.heads import Head
from farm.store.s3path import ObjectPath, as_object

LOOKS_AT_ONCE = 4
LOOKS_A_TENANT = 2
SIGN_S = 5.0
ASK_S = 0.2
MOST_FAULTS = 3  # of this program's own while it looked at an upload, which is refused then

log = logging.getLogger("farm.api")
Found = tuple[str, dict[str, object]]  # the SHA-256, and what the file is


class Looks:
    """The looks of this process, for one event loop. `look` examines an upload: `InputError` refuses it for good."""

    def __init__(self, db: Database, look: Callable[[UploadRow, str], Found] | None = None) -> None:
        self._db = db
        self._examine = look or examine
        self._threads = ThreadPoolExecutor(LOOKS_AT_ONCE, "look", go_last)
        self._turns = Turns(LOOKS_AT_ONCE, LOOKS_A_TENANT)
        self._here: dict[str, asyncio.Task[None]] = {}  # by the upload: what waits for its turn, or runs
        self._faults: Counter[str] = Counter()

    def close(self) -> None:
        """Look at nothing more; what is being looked at is looked at again by whoever is asked next."""
        for task in list(self._here.values()):
            task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def at(self, row: UploadRow, sha256: str, wait_s: float) -> UploadRow:
        """The row of a whole upload when it was looked at, or after `wait_s` as it is then. `FarmError` where the look
        failed; the next call begins another."""
        clock = asyncio.get_running_loop().time
        task, end_s = self._task(row, sha256), clock() + wait_s
        while True:
            if task.cancelled():
                raise Unreachable("the service is about to end", hint="try again in a few seconds")
            if task.done():
                task.result()  # its error is the caller's
            row = await run_in_threadpool(uploads.get, self._db, row.tenant, row.id)
            if row.state != "open" or clock() >= end_s:
                return row
            if task.done():  # another replica looks
                await asyncio.sleep(ASK_S)
            else:
                await asyncio.wait([task], timeout=ASK_S)

    def _task(self, row: UploadRow, sha256: str) -> asyncio.Task[None]:
        """What looks at the upload in this process, begun where nothing does."""
        task = self._here.get(row.id)
        if task is None:
            task = self._here[row.id] = asyncio.create_task(self._turn(row, sha256))
            task.add_done_callback(lambda done: self._end(row.id, done))
        return task

    def _end(self, upload_id: str, task: asyncio.Task[None]) -> None:
        del self._here[upload_id]
        if not task.cancelled():
            task.exception()  # told to whoever waits, if anybody does

    async def _turn(self, row: UploadRow, sha256: str) -> None:
        """What waits for a turn is nobody's yet: any replica that has one may take it."""
        async with self._turns.turn(row.tenant):
            if await run_in_threadpool(uploads.claim_look, self._db, row.tenant, row.id):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._look, row, sha256)

    def _look(self, row: UploadRow, sha256: str) -> None:
        over = threading.Event()
        signs = threading.Thread(target=self._signs, args=(row, over), daemon=True)
        signs.start()
        try:
            try:
                found, media = self._examine(row, sha256)
            except InputError as error:
                self._refuse(row, error)
            else:
                uploads.finish(self._db, row.tenant, row.id, size_bytes=row.size_bytes, sha256=found, media=media)
                if not is_far(row.place):
                    forget_marks(row.place)
            self._faults.pop(row.id, None)
        except Conflict:  # was removed meanwhile
            log.info("%s is not open any more", row.id)
        except FarmError as error:
            log.error("%s was not looked at: %s", row.id, error)
            self._give_up(row)
            raise
        except Exception as error:
            log.exception("%s was not looked at", row.id)
            self._fault(row)
            raise StorageError("the file could not be looked at", where=row.id, hint="tell the operator") from error
        finally:
            over.set()
            signs.join()

    def _refuse(self, row: UploadRow, error: InputError) -> None:
        uploads.refuse(self._db, row.tenant, row.id, problem_of(row, error))

    def _fault(self, row: UploadRow) -> None:
        """A fault of this program's, which the next look at the same file may well meet again."""
        self._faults[row.id] += 1
        if self._faults[row.id] < MOST_FAULTS:
            self._give_up(row)
            return
        self._faults.pop(row.id, None)
        try:
            self._refuse(row, InputError("cannot be looked at", hint="export it again; tell the operator"))
        except FarmError as error:
            log.warning("%s: %s", row.id, error)

    def _signs(self, row: UploadRow, over: threading.Event) -> None:
        while not over.wait(SIGN_S):
            try:
                uploads.still_looking(self._db, row.tenant, row.id)
            except FarmError as error:
                log.warning("%s: %s", row.id, error)

    def _give_up(self, row: UploadRow) -> None:
        try:
            uploads.give_up_look(self._db, row.tenant, row.id)
        except FarmError as error:  # another one may look when this one was silent for a while
            log.warning("%s: %s", row.id, error)


def examine(row: UploadRow, sha256: str) -> Found:
    """The SHA-256 of the file, and what it is. `InputError`, with the upload's own name, where it is not what was
    announced: another size, beginning or hash, or no film and no picture; 503 where the machine did not come to it."""
    file: FarFile | NearFile = FarFile(row) if is_far(row.place) else NearFile(row)
    try:
        size = file.size()
        if size != row.size_bytes:
            told = f"has {size} bytes, and {row.size_bytes} were announced"
            raise InputError(told, hint="begin a new upload with the right size")
        first = file.first()
        begins = hashlib.sha256(first[: head_bytes_of(row.size_bytes)]).hexdigest()
        if row.head_sha256 not in ("", begins):
            raise InputError("begins with other bytes than were sent to `head`", hint="send it again")
        check_first(row, first)
        media = file.facts(first)
        found = file.sha256()
        if sha256 and found != sha256:
            raise InputError("what came has another SHA-256 than what was sent", hint="send it again")
    except InputError as error:
        raise InputError(error.what, where=row.name, hint=error.hint) from error
    except Busy as error:
        raise not_looked_at(error, "all of it is here; call `finish` again, and it is looked at again") from error
    return found, media


class FarFile:
    """An upload in a bucket."""

    def __init__(self, row: UploadRow) -> None:
        self._row, self._far = row, as_object(path_of(row.place))
        self._head: Head | None = None

    def size(self) -> int:
        self._head = self._far.head()
        return self._head.size if self._head is not None else 0

    def first(self) -> bytes:
        return head_of(self._far)

    def facts(self, first: bytes) -> dict[str, object]:
        if self._head is not None and is_picture(first):
            return picture_facts(self._far, self._head, self._row)
        return film_facts(self._far)

    def sha256(self) -> str:
        with self._far.hashed() as whole:
            return whole()


class NearFile:
    """An upload in a folder."""

    def __init__(self, row: UploadRow) -> None:
        self._row, self._file = row, Path(row.place)

    def size(self) -> int:
        with told_of_disks(self._row.id):
            return self._file.stat().st_size if self._file.exists() else 0

    def first(self) -> bytes:
        with told_of_disks(self._row.id), self._file.open("rb") as file:
            return file.read(HEAD_BYTES)

    def facts(self, first: bytes) -> dict[str, object]:
        del first
        with told_of_disks(self._row.id):
            return facts(self._file, self._row.purpose)

    def sha256(self) -> str:
        with told_of_disks(self._row.id):
            return hash_of(self._file)


def picture_facts(far: ObjectPath, head: Head, row: UploadRow) -> dict[str, object]:
    """What the picture is, of a copy that does not stay."""
    with tempfile.TemporaryDirectory(prefix="farm-look-") as folder:
        near = Path(folder) / "picture"
        far.bucket.download(head, near)
        return facts(near, row.purpose)
