"""Erasure: what a tenant gave and got goes; the row stays as a number among others, without what it was about."""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy import Connection

from farm.service import tables
from farm.service.moves import NO_LEASE
from farm.service.records import Progress
from farm.service.rows import text_of
from farm.service.states import ENDED, JobState, Wish

job, upload, bound = tables.jobs.c, tables.uploads.c, tables.job_uploads.c


def erase_row(connection: Connection, now_ms: int, job_id: str) -> bool:
    """Empty the job's row and what hangs on it. Uploads that it uses or once used go with it, but those that another
    job uses. Whether that ended the job: one that had not ended is cancelled."""
    state = connection.execute(sql.select(job.state).where(job.id == job_id)).scalar_one_or_none()
    statement = (
        sql.update(tables.jobs)
        .where(job.id == job_id, job.erased_ms.is_(None))
        .values(
            state=sql.case((job.state.in_(sorted(ENDED)), job.state), else_=JobState.cancelled.value),
            wish=Wish.run,
            epoch=job.epoch + 1,
            version=job.version + 1,
            title="",
            job_order=None,
            progress=text_of(Progress()),
            problem=None,
            result=None,
            result_bytes=0,
            has_cast=0,
            changed_ms=now_ms,
            finished_ms=sql.func.coalesce(job.finished_ms, now_ms),
            erased_ms=now_ms,
            **NO_LEASE,
        )
    )
    if connection.execute(statement).rowcount != 1:
        return False
    for table in (
        tables.events,
        tables.segments,
        tables.documents,
        tables.idempotency,
        tables.deliveries,
        tables.webhooks,
    ):
        connection.execute(sql.delete(table).where(table.c.job == job_id))
    mine = sql.select(bound.upload).where(bound.job == job_id)
    names = [str(name) for name in connection.execute(mine).scalars()]
    connection.execute(sql.delete(tables.job_uploads).where(bound.job == job_id))
    for name in sorted(names):  # in one order, so that two erasures do not wait for one another
        connection.execute(sql.select(upload.id).where(upload.id == name).with_for_update())
        used = sql.select(bound.job).where(bound.upload == name, bound.unused_ms.is_(None))
        if connection.execute(used.limit(1)).first() is None:
            forget_upload(connection, now_ms, name)
    return state not in ENDED


def forget_upload(connection: Connection, now_ms: int, name: str) -> None:
    """Empty an upload's row; its file goes when the coordinator next clears up."""
    values = {"state": "gone", "name": "", "sha256": "", "media": "{}", "problem": None, "changed_ms": now_ms}
    connection.execute(sql.update(tables.uploads).where(upload.id == name, upload.state != "gone").values(values))
    connection.execute(sql.delete(tables.idempotency).where(tables.idempotency.c.job == name))
