"""The outbox: what happened to each job, numbered from 1 without gaps (see farm.service.moves)."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sql

from farm.service import tables
from farm.service.database import Database
from farm.service.jobs import find
from farm.service.records import EventRow
from farm.service.rows import json_of

event = tables.events.c


def after(db: Database, tenant: str, job_id: str, seq: int, *, limit: int = 500) -> tuple[EventRow, ...]:
    """The job's events behind number `seq`, at most `limit`. `NotFound` where the tenant has no such job (any more)."""
    asked = (
        sql.select(tables.events)
        .where(event.job == job_id, event.seq > max(0, min(seq, 2**62)))
        .order_by(event.seq)
        .limit(limit)
    )
    with db.read() as connection:
        find(connection, tenant, job_id)
        rows = connection.execute(asked).all()
    return tuple(EventRow(row.job, row.seq, row.at_ms, row.kind, json_of(row.data)) for row in rows)


def heads(db: Database, job_ids: Collection[str]) -> dict[str, tuple[int, int]]:
    """(version, newest event's number) of those of the jobs that are there: one question for all that watch."""
    job = tables.jobs.c
    names = sorted(set(job_ids))
    found: dict[str, tuple[int, int]] = {}
    with db.look() as connection:
        for first in range(0, len(names), 500):
            some = names[first : first + 500]
            asked = sql.select(job.id, job.version, job.last_seq).where(
                job.id.in_(some), job.erased_ms.is_(None), job.wish != "erase"
            )
            found.update({row.id: (row.version, row.last_seq) for row in connection.execute(asked)})
    return found
