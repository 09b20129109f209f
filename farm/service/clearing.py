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
from typing import Any

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
        # A job has `finished_ms` while it has ended: asked for that alone, the oldest are found by its index.
        there = sql.select(job.id).where(job.erased_ms.is_(None))
        for one in _older(db, there, retention.jobs_s, job.finished_ms):
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
        for one in _older(db, free, retention.uploads_s, since, upload.changed_ms):
            with db.write() as connection:
                now_ms = db.now_ms(connection)
                # Who binds an upload to a job locks its row first.
                connection.execute(sql.select(upload.id).where(upload.id == one).with_for_update())
                old = since < now_ms - 1000 * retention.uploads_s
                if connection.execute(free.where(upload.id == one, old)).first() is not None:
                    erasing.forget_upload(connection, now_ms, one)
                    audit.write(connection, now_ms, ACTOR, "upload.remove", one)


def _older(
    db: Database, asked: sql.Select[tuple[str]], seconds: int, at: sql.ColumnElement[int], *before: sql.Column[int]
) -> list[str]:
    """Ids of rows for which `at` is longer ago than that, the oldest first. `before`: columns with times that are never
    after `at`, by which an index finds them."""
    with db.read() as connection:
        limit_ms = db.now_ms(connection) - 1000 * seconds
        old = asked.where(*(time_ms < limit_ms for time_ms in (at, *before))).order_by(at).limit(AT_ONCE)
        return [str(one) for one in connection.execute(old).scalars()]


def _clear_jobs(db: Database, places: ServicePlaces, go_on: Callable[[], bool]) -> None:
    there = [job.erased_ms.is_not(None), job.files_gone_ms.is_(None)]
    asked = sql.select(job.id).where(*there)
    _remove_each(db, asked, job.files_gone_ms, lambda row: places.remove_job(row.id), go_on)


def _clear_stores(db: Database, places: ServicePlaces, go_on: Callable[[], bool]) -> None:
    """What jobs would have gone on with goes when they have succeeded: their films count against quotas, and this does
    not."""
    there = [job.state == JobState.succeeded, job.store_gone_ms.is_(None), job.erased_ms.is_(None)]
    asked = sql.select(job.id).where(*there)
    _remove_each(db, asked, job.store_gone_ms, lambda row: places.remove_stores(row.id), go_on)


def _remove_each(
    db: Database,
    asked: sql.Select[Any],
    gone: sql.Column[Any],
    remove: Callable[[sql.Row[Any]], None],
    go_on: Callable[[], bool],
) -> None:
    """Remove what belongs to the rows of `asked`, the oldest first, and mark them in the column `gone`. What cannot be
    removed is left for the next time, and does not keep those behind it from their turn."""
    rows_of, done, last = gone.table, 0, ""
    while done < AT_ONCE:
        with db.look() as connection:
            next_ones = asked.where(rows_of.c.id > last).order_by(rows_of.c.id).limit(AT_ONCE)
            rows = connection.execute(next_ones).all()
        for row in rows:
            if not go_on():
                return
            last = row.id
            try:
                remove(row)
            except FarmError as error:
                log.error("files of %s stay for now: %s", row.id, error)
                continue
            done += 1
            with db.write() as connection:
                mark = sql.update(rows_of).where(rows_of.c.id == row.id)
                connection.execute(mark.values({gone.name: db.now_ms(connection)}))
        if len(rows) < AT_ONCE:
            return


def _clear_webhooks(connection: Connection, now_ms: int) -> None:
    """Webhooks of one job end with it; letters that were written while their webhook was ended wait for nobody, from
    when they are due."""
    waits = sql.select(delivery.id).where(delivery.webhook == hook.id, delivery.state == "waiting").exists()
    done = sql.select(job.id).where(job.id == hook.job, job.state == "succeeded").exists()
    over = sql.update(tables.webhooks).where(hook.job > "", hook.off_ms.is_(None), done, sql.not_(waits))
    connection.execute(over.values(off_ms=now_ms, url="", secret=""))
    live = sql.select(hook.id).where(hook.id == delivery.webhook, hook.off_ms.is_(None)).exists()
    due = [delivery.state == "waiting", delivery.next_ms <= now_ms]
    lost = sql.update(tables.deliveries).where(*due, sql.not_(live))
    connection.execute(lost.values(state="dead", last_error="the webhook is not there any more"))


def _clear_uploads(db: Database, go_on: Callable[[], bool]) -> None:
    waits = [upload.state.in_(["gone", "refused"]), upload.files_gone_ms.is_(None)]
    asked = sql.select(upload.id, upload.place).where(*waits)
    _remove_each(db, asked, upload.files_gone_ms, lambda row: remove_file(row.place), go_on)


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
