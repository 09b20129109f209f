"""Which uploads a job uses: they stay as long as it does, and those that it used once go with it."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sql
from sqlalchemy import Connection

from farm.service import tables
from farm.service.errors import Conflict, NotFound
from farm.service.moves import insert


def use(connection: Connection, tenant: str, made: str, names: Collection[str]) -> None:
    """Bind uploads to the job; their rows are locked, so that none is removed meanwhile."""
    upload = tables.uploads.c
    for name in sorted(names):
        asked = sql.select(upload.state).where(upload.id == name, upload.tenant == tenant)
        state = connection.execute(asked.with_for_update()).scalar_one_or_none()
        if state is None or state == "gone":
            raise NotFound("no such upload", where=name[:80], hint="upload the file (again), and submit with its id")
        if state != "ready":
            told = "was refused" if state == "refused" else "is not complete"
            raise Conflict(f"the upload {told}", where=name, hint="see what the upload says")
        bind = insert(connection, tables.job_uploads).values(job=made, upload=name, unused_ms=None)
        connection.execute(bind.on_conflict_do_update(index_elements=["job", "upload"], set_={"unused_ms": None}))


def check(connection: Connection, tenant: str, job_id: str) -> None:
    """`Conflict` where the job needs an upload that was removed since."""
    upload, bound = tables.uploads.c, tables.job_uploads.c
    mine = sql.select(bound.upload).where(bound.job == job_id, bound.unused_ms.is_(None)).order_by(bound.upload)
    for name in list(connection.execute(mine).scalars()):
        asked = sql.select(upload.state).where(upload.id == name, upload.tenant == tenant)
        if connection.execute(asked.with_for_update()).scalar_one_or_none() != "ready":
            raise Conflict("a file of this job was removed", where=str(name), hint="upload it again, submit a new job")


def keep(connection: Connection, now_ms: int, job_id: str, names: Collection[str]) -> None:
    """The job needs none of its uploads but `names`: the others may be removed, and at the latest go with the job."""
    bound = tables.job_uploads.c
    others = [bound.job == job_id, bound.upload.not_in(sorted(names)), bound.unused_ms.is_(None)]
    connection.execute(sql.update(tables.job_uploads).where(*others).values(unused_ms=now_ms))
