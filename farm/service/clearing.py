"""What is cleared up while the service runs: files of what was erased, what jobs that succeeded do not need any more,
uploads nobody finished, old keys, letters and lines of the audit.

Rows say what is to go; a row is marked when its files are gone, so a coordinator that dies in between does it again.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy import Connection

from core.errors import FarmError, StorageError
from core.media.far import FarPath
from farm.paths import place
from farm.service import audit, erasing, tables
from farm.service.database import Database
from farm.service.places import ServicePlaces, remove_object
from farm.service.states import ENDED, JobState

job, upload, name, delivery = tables.jobs.c, tables.uploads.c, tables.idempotency.c, tables.deliveries.c
bound, hook = tables.job_uploads.c, tables.webhooks.c
log = logging.getLogger("farm.service")
HOUR_MS = 3_600_000
UPLOAD_MS = 24 * HOUR_MS  # without a byte
NAME_MS = 7 * 24 * HOUR_MS
LETTER_MS = 30 * 24 * HOUR_MS
AT_ONCE = 100
ACTOR = "retention"  # who erases what nobody asked to be erased


@dataclass(frozen=True)
class Retention:
    """What is erased unasked, in seconds; None is never. `jobs_s`: a job that ended, with its uploads and its result.
    `uploads_s`: an upload that no job uses, since it was complete or was let go. `audit_s`: a line of the audit, within
    a day."""

    jobs_s: int | None = None
    uploads_s: int | None = None
    audit_s: int | None = None


NEVER = Retention()


def clear(
    db: Database, places: ServicePlaces, retention: Retention = NEVER, *, go_on: Callable[[], bool] = lambda: True
) -> None:
    """Do a bounded piece of it, and stop between two files where `go_on` says no; raises only what the database
    says."""
    _erase_old(db, retention)
    _clear_jobs(db, places, go_on)
    _clear_stores(db, places, go_on)
    if not go_on():
        return
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        old_ms = now_ms - UPLOAD_MS
        stale = sql.select(upload.id).where(upload.state == "open", upload.changed_ms < old_ms).order_by(upload.id)
        locked = stale.limit(AT_ONCE).with_for_update(skip_locked=True)
        forgotten = [str(one) for one in connection.execute(locked).scalars()]
        for one in forgotten:
            erasing.forget_upload(connection, now_ms, one)
        connection.execute(sql.delete(tables.idempotency).where(name.created_ms < now_ms - NAME_MS))
        _clear_webhooks(connection, now_ms)
        old = [delivery.state != "waiting", delivery.created_ms < now_ms - LETTER_MS]
        connection.execute(sql.delete(tables.deliveries).where(*old))
        for one in forgotten:
            audit.write(connection, now_ms, ACTOR, "upload.remove", one)
    _clear_uploads(db, go_on)
    if retention.audit_s is not None and go_on():
        audit.trim(db, ACTOR, retention.audit_s)


def _erase_old(db: Database, retention: Retention) -> None:
    """Erase what is older than it may be, each in a transaction of its own."""
    if retention.jobs_s is not None:
        ended = [job.state.in_(sorted(ENDED)), job.erased_ms.is_(None)]
        for one in _older(db, sql.select(job.id).where(*ended), job.finished_ms, retention.jobs_s):
            with db.write() as connection:
                now_ms = db.now_ms(connection)
                # Locked and looked at again: it may have been retried meanwhile.
                mine = sql.select(job.id).where(job.id == one, *ended).with_for_update()
                if connection.execute(mine).first() is not None:
                    erasing.erase_row(connection, now_ms, one)
                    audit.write(connection, now_ms, ACTOR, "job.erase", one)
    if retention.uploads_s is not None:
        used = sql.select(bound.upload).where(bound.upload == upload.id, bound.unused_ms.is_(None)).exists()
        free = sql.select(upload.id).where(upload.state == "ready", sql.not_(used))
        let_go = sql.select(sql.func.max(bound.unused_ms)).where(bound.upload == upload.id).scalar_subquery()
        since = sql.func.coalesce(let_go, upload.changed_ms)
        for one in _older(db, free, since, retention.uploads_s):
            with db.write() as connection:
                now_ms = db.now_ms(connection)
                # Who binds an upload to a job locks its row first.
                connection.execute(sql.select(upload.id).where(upload.id == one).with_for_update())
                old = since < now_ms - 1000 * retention.uploads_s
                if connection.execute(free.where(upload.id == one, old)).first() is not None:
                    erasing.forget_upload(connection, now_ms, one)
                    audit.write(connection, now_ms, ACTOR, "upload.remove", one)


def _older(db: Database, asked: sql.Select[tuple[str]], at: sql.ColumnElement[int], seconds: int) -> list[str]:
    with db.read() as connection:
        limit_ms = db.now_ms(connection) - 1000 * seconds
        found = connection.execute(asked.where(at < limit_ms).order_by(at).limit(AT_ONCE)).scalars()
        return [str(one) for one in found]


def _clear_jobs(db: Database, places: ServicePlaces, go_on: Callable[[], bool]) -> None:
    asked = sql.select(job.id).where(job.erased_ms.is_not(None), job.files_gone_ms.is_(None)).limit(AT_ONCE)
    with db.read() as connection:
        erased = [str(one) for one in connection.execute(asked).scalars()]
    for one in erased:
        if not go_on():
            return
        try:
            places.remove_job(one)
        except FarmError as error:
            log.error("the files of %s stay for now: %s", one, error)
            continue
        with db.write() as connection:
            gone = {"files_gone_ms": db.now_ms(connection)}
            connection.execute(sql.update(tables.jobs).where(job.id == one).values(gone))


def _clear_stores(db: Database, places: ServicePlaces, go_on: Callable[[], bool]) -> None:
    """What jobs would have gone on with goes when they have succeeded: their films count against quotas, and this does
    not."""
    there = [job.state == JobState.succeeded, job.store_gone_ms.is_(None), job.erased_ms.is_(None)]
    with db.read() as connection:
        asked = sql.select(job.id).where(*there).order_by(job.finished_ms).limit(AT_ONCE)
        done = [str(one) for one in connection.execute(asked).scalars()]
    for one in done:
        if not go_on():
            return
        try:
            places.remove_stores(one)
        except FarmError as error:
            log.error("what %s was made of stays for now: %s", one, error)
            continue
        with db.write() as connection:
            gone = {"store_gone_ms": db.now_ms(connection)}
            connection.execute(sql.update(tables.jobs).where(job.id == one).values(gone))


def _clear_webhooks(connection: Connection, now_ms: int) -> None:
    """Webhooks of one job end with it; letters that were written while their webhook was ended wait for nobody."""
    waits = sql.select(delivery.id).where(delivery.webhook == hook.id, delivery.state == "waiting").exists()
    done = sql.select(job.id).where(job.id == hook.job, job.state == "succeeded").exists()
    over = sql.update(tables.webhooks).where(hook.job != "", hook.off_ms.is_(None), done, sql.not_(waits))
    connection.execute(over.values(off_ms=now_ms, url="", secret=""))
    live = sql.select(hook.id).where(hook.id == delivery.webhook, hook.off_ms.is_(None)).exists()
    lost = sql.update(tables.deliveries).where(delivery.state == "waiting", sql.not_(live))
    connection.execute(lost.values(state="dead", last_error="the webhook is not there any more"))


def _clear_uploads(db: Database, go_on: Callable[[], bool]) -> None:
    waits = [upload.state.in_(["gone", "refused"]), upload.files_gone_ms.is_(None)]
    with db.read() as connection:
        rows = connection.execute(sql.select(upload.id, upload.place).where(*waits).limit(AT_ONCE)).all()
    for row in rows:
        if not go_on():
            return
        try:
            remove_file(row.place)
        except FarmError as error:
            log.error("the file of %s stays for now: %s", row.id, error)
            continue
        with db.write() as connection:
            gone = {"files_gone_ms": db.now_ms(connection)}
            connection.execute(sql.update(tables.uploads).where(upload.id == row.id).values(gone))


def remove_file(text: str) -> None:
    """Remove a file or folder of an upload, and parts of it that lie beside it; nothing where there is none."""
    path = place(text)
    try:
        if isinstance(path, FarPath):
            remove_object(path)
            return
        for found in (path, *path.parent.glob(f"{path.name}.*")):
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink(missing_ok=True)
        with suppress(OSError):
            Path(path.parent).rmdir()  # the tenant's folder, where nothing else is in it
    except OSError as error:
        raise StorageError(f"cannot be removed: {error.strerror}", where=text) from error
