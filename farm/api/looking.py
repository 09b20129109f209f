"""What came into a bucket, looked at as the farm will open it: size, hash, first megabyte, headers.

Reading all of a long film takes longer than a call may: the look goes on in a thread while calls come and go, and
whoever asks meanwhile is told to come again. The row says that somebody looks, with a sign of life every few seconds,
so that no two replicas read the same film, and one that dies in the middle is followed by the next that is asked.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from core.errors import FarmError, InputError
from farm.api.buckets import head_of
from farm.api.receiving import facts, film_facts, problem_of
from farm.api.sniff import check_head, is_picture
from farm.paths import place as path_of
from farm.service import uploads
from farm.service.database import Database
from farm.service.errors import Conflict
from farm.service.records import UploadRow
from farm.store.s3path import ObjectPath, as_object

LOOKS_AT_ONCE = 4
SIGN_S = 5.0
ASK_S = 0.2
MOST_PICTURE_BYTES = 1 << 30

log = logging.getLogger("farm.api")


class Looks:
    """The looks of this process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._threads = ThreadPoolExecutor(LOOKS_AT_ONCE, "look")

    def close(self) -> None:
        """Look at nothing more; what is being looked at is looked at again by whoever is asked next."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def at(self, row: UploadRow, sha256: str, wait_s: float) -> UploadRow:
        """The row of a whole upload when it was looked at, or after `wait_s` as it is then."""
        if await run_in_threadpool(uploads.claim_look, self._db, row.tenant, row.id):
            self._threads.submit(self._look, row, sha256)
        end_s = time.monotonic() + wait_s
        while True:
            row = await run_in_threadpool(uploads.get, self._db, row.tenant, row.id)
            if row.state != "open" or time.monotonic() >= end_s:
                return row
            await asyncio.sleep(ASK_S)

    def _look(self, row: UploadRow, sha256: str) -> None:
        over = threading.Event()
        signs = threading.Thread(target=self._signs, args=(row, over), daemon=True)
        signs.start()
        try:
            try:
                found, media = examine(as_object(path_of(row.place)), row, sha256)
            except InputError as error:
                uploads.refuse(self._db, row.tenant, row.id, problem_of(row, error))
            else:
                uploads.finish(self._db, row.tenant, row.id, size_bytes=row.size_bytes, sha256=found, media=media)
        except Conflict:  # was removed meanwhile
            log.info("%s is not open any more", row.id)
        except Exception as error:  # a thread has no caller; the upload is looked at again when it is asked for
            log.error("%s was not looked at: %s", row.id, error)
            self._give_up(row)
        finally:
            over.set()
            signs.join()

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


def examine(far: ObjectPath, row: UploadRow, sha256: str) -> tuple[str, dict[str, object]]:
    """The SHA-256 of the object, and what it is. `InputError`, with the upload's own name, where it is not what was
    announced: another size or hash, or no film and no picture."""
    try:
        head = far.head()
        if head is None or head.size != row.size_bytes:
            size = head.size if head is not None else 0
            told = f"has {size} bytes, and {row.size_bytes} were announced"
            raise InputError(told, hint="begin a new upload with the right size")
        first = head_of(far)
        check_head(row.purpose, first, row.name)
        media = picture_facts(far, row) if is_picture(first) else film_facts(far)
        with far.hashed() as whole:
            found = whole()
        if sha256 and found != sha256:
            raise InputError("what came has another SHA-256 than what was sent", hint="send it again")
    except InputError as error:
        raise InputError(error.what, where=row.name, hint=error.hint) from error
    return found, media


def picture_facts(far: ObjectPath, row: UploadRow) -> dict[str, object]:
    """What the picture is, of a copy that does not stay."""
    if row.size_bytes > MOST_PICTURE_BYTES:
        raise InputError(f"has more than {MOST_PICTURE_BYTES} bytes", hint="save the picture as JPEG or PNG")
    with tempfile.TemporaryDirectory(prefix="farm-look-") as folder:
        near = Path(folder) / "picture"
        near.write_bytes(far.read_bytes())
        return facts(near, row.purpose)
