"""The outbox: what happened to each job, numbered from 1 without gaps (see farm.service.moves)."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sql

from farm.service import tables
from farm.service.database import Database
from farm.service.jobs import find, visible
from farm.service.records import EventRow
from farm.service.rows import json_of

event, job = tables.events.c, tables.jobs.c


def after(db: Database, tenant: str, job_id: str, seq: int, *, limit: int = 500) -> tuple[EventRow, ...]:
    """The job's events behind number `seq`, at most `limit`. `NotFound` where the tenant has no such job (any more)."""
    wanted = {"job_id": job_id, "seq": max(0, min(seq, 2**62)), "most": limit}
    with db.read() as connection:
        find(connection, tenant, job_id)
        rows = connection.execute(_after(), wanted).all()
    return tuple(EventRow(row.job, row.seq, row.at_ms, row.kind, json_of(row.data)) for row in rows)


@cache
def _after() -> sql.Select[Any]:
    asked = sql.select(tables.events).where(event.job == sql.bindparam("job_id"), event.seq > sql.bindparam("seq"))
    return asked.order_by(event.seq).limit(sql.bindparam("most", type_=sql.BigInteger))


def heads(db: Database, job_ids: Collection[str]) -> dict[str, tuple[int, int]]:
    """(version, newest event's number) of those of the jobs that are there: one question for all that watch."""
    names = sorted(set(job_ids))
    found: dict[str, tuple[int, int]] = {}
    with db.look() as connection:
        for first in range(0, len(names), 500):
            some = names[first : first + 500]
            rows = connection.execute(_heads(), {"job_ids": some})
            found.update({row.id: (row.version, row.last_seq) for row in rows})
    return found


@cache
def _heads() -> sql.Select[Any]:
    asked = sql.select(job.id, job.version, job.last_seq)
    return asked.where(job.id.in_(sql.bindparam("job_ids", expanding=True)), *visible())
