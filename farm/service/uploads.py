"""Files of tenants, from the announcement to the erasure. Where the bytes go is the caller's; the rows count them.

open -> ready | refused | gone        ready -> gone
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection, Row

from core.errors import InputError
from farm.service import audit, erasing, naming, quotas, tables
from farm.service.database import Database
from farm.service.errors import Conflict, NotFound
from farm.service.ids import make_cursor, new_id, read_cursor
from farm.service.records import Page, Problem, UploadPurpose, UploadRow
from farm.service.rows import json_of, problem_of, text_of
from farm.service.states import ENDED

WHOLE, LOOKED_AT = "whole", "looked at"  # upload_ref of an upload whose parts are put together
QUIET_MS = 30_000
NAMES = "upload"  # before a blank and an idempotency key, which holds none: a job's key is another one

upload, bound, job = tables.uploads.c, tables.job_uploads.c, tables.jobs.c


def begin(
    db: Database,
    tenant: str,
    *,
    purpose: UploadPurpose,
    name: str,
    size_bytes: int,
    place: Callable[[str], str],
    upload_ref: str = "",
    actor: str = "",
    idempotency: str = "",
) -> UploadRow:
    """Announce a file of `size_bytes`, counted against the quota from now on. `place` says where an id's file lies.
    With an `idempotency` key that announced a file before, that upload; `KeyReused` where it was another file."""
    if size_bytes < 0:
        raise InputError("a file has no less than 0 bytes")
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quota = quotas.lock_tenant(connection, tenant)
        made = new_id("upl")
        if idempotency:
            request = hashlib.sha256(text_of([purpose, name, size_bytes]).encode()).hexdigest()
            earlier = _claim(connection, now_ms, tenant, f"{NAMES} {idempotency}", request, made)
            if earlier is not None:
                return _record(earlier)
        quotas.check_bytes(connection, tenant, quota, size_bytes)
        statement = sql.insert(tables.uploads).values(
            id=made,
            tenant=tenant,
            state="open",
            purpose=purpose,
            name=name,
            place=place(made),
            size_bytes=size_bytes,
            received_bytes=0,
            sha256="",
            media="{}",
            upload_ref=upload_ref,
            problem=None,
            created_ms=now_ms,
            changed_ms=now_ms,
            files_gone_ms=None,
            head_sha256="",
        )
        row = connection.execute(statement.returning(tables.uploads)).one()
        audit.write(connection, now_ms, actor or tenant, "upload.begin", made)
        return _record(row)


def _claim(
    connection: Connection, now_ms: int, tenant: str, name: str, request_sha256: str, made: str
) -> Row[Any] | None:
    """Claim an idempotency key for the upload `made`; the earlier upload where it was claimed before."""
    for _ in range(naming.CLAIMS):
        if naming.claim(connection, now_ms, tenant, name, request_sha256, made):
            return None
        earlier = naming.made_with(connection, tenant, name, request_sha256)
        if earlier is not None:
            with suppress(NotFound):  # removed since the claim: the key is free now
                return _find(connection, tenant, earlier)
    raise Conflict("the upload of this idempotency key is being removed", hint="announce the file again")


def set_ref(db: Database, tenant: str, upload_id: str, upload_ref: str) -> UploadRow:
    """Keep the id of what takes an upload's parts, where none is kept yet; the upload with the one that is. `NotFound`
    where it was removed meanwhile."""
    mine = [upload.id == upload_id, upload.tenant == tenant, upload.state == "open", upload.upload_ref == ""]
    with db.write() as connection:
        told = {"upload_ref": upload_ref, "changed_ms": db.now_ms(connection)}
        connection.execute(sql.update(tables.uploads).where(*mine).values(told))
        return _record(_find(connection, tenant, upload_id))


def give_up(db: Database, tenant: str, upload_id: str, *, actor: str = "") -> None:
    """Take away an upload that was announced and whose parts nothing takes; nothing where something does by now."""
    mine = [upload.id == upload_id, upload.tenant == tenant, upload.state == "open", upload.upload_ref == ""]
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        if connection.execute(sql.select(upload.id).where(*mine).with_for_update()).first() is not None:
            erasing.forget_upload(connection, now_ms, upload_id)
            audit.write(connection, now_ms, actor or tenant, "upload.remove", upload_id)


def begins(db: Database, tenant: str, upload_id: str, head_sha256: str) -> UploadRow:
    """Keep how the file begins. `Conflict` where it was told to begin otherwise."""
    mine = [upload.id == upload_id, upload.tenant == tenant, upload.state == "open"]
    with db.write() as connection:
        told = {"head_sha256": head_sha256, "changed_ms": db.now_ms(connection)}
        known = upload.head_sha256.in_(["", head_sha256])
        row = connection.execute(
            sql.update(tables.uploads).where(*mine, known).values(told).returning(tables.uploads)
        ).one_or_none()
        if row is not None:
            return _record(row)
        state = _find(connection, tenant, upload_id).state
    what = "the upload began with other bytes" if state == "open" else f"the upload is {state} and takes nothing more"
    raise Conflict(what, where=upload_id, hint="begin another one")


def whole(db: Database, tenant: str, upload_id: str, upload_ref: str) -> UploadRow:
    """All parts of `upload_ref` are put together; what came can be looked at. `NotFound` where the
    upload was removed meanwhile."""
    mine = [upload.id == upload_id, upload.tenant == tenant, upload.state == "open", upload.upload_ref == upload_ref]
    with db.write() as connection:
        told = {"upload_ref": WHOLE, "received_bytes": upload.size_bytes, "changed_ms": db.now_ms(connection)}
        connection.execute(sql.update(tables.uploads).where(*mine).values(told))
        return _record(_find(connection, tenant, upload_id))


def claim_look(db: Database, tenant: str, upload_id: str) -> bool:
    """Whether the caller is to look at a whole upload: nobody does, or who did was silent for `QUIET_MS`."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        silent = sql.and_(upload.upload_ref == LOOKED_AT, upload.changed_ms < now_ms - QUIET_MS)
        mine = [upload.id == upload_id, upload.tenant == tenant, upload.state == "open"]
        change = sql.update(tables.uploads).where(*mine, sql.or_(upload.upload_ref == WHOLE, silent))
        return connection.execute(change.values(upload_ref=LOOKED_AT, changed_ms=now_ms)).rowcount == 1


def still_looking(db: Database, tenant: str, upload_id: str) -> None:
    """To be said every few seconds by who looks."""
    _change(db, tenant, upload_id, {"upload_ref": LOOKED_AT})


def give_up_look(db: Database, tenant: str, upload_id: str) -> None:
    """Whoever asks next may look."""
    _change(db, tenant, upload_id, {"upload_ref": WHOLE})


def received(db: Database, tenant: str, upload_id: str, received_bytes: int) -> UploadRow:
    """So much of the file is there."""
    return _change(db, tenant, upload_id, {"received_bytes": received_bytes})


def finish(
    db: Database, tenant: str, upload_id: str, *, size_bytes: int, sha256: str, media: Mapping[str, object]
) -> UploadRow:
    """The file is whole; `media` is what it turned out to be. `OverQuota` where it is more than was announced, and
    more than the tenant may have. Idempotent for the same file."""
    values = {
        "state": "ready",
        "size_bytes": size_bytes,
        "received_bytes": size_bytes,
        "sha256": sha256,
        "media": text_of(dict(media)),
    }
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quota = quotas.lock_tenant(connection, tenant)
        row = _find(connection, tenant, upload_id)
        if row.state == "ready" and row.sha256 == sha256:
            return _record(row)
        if size_bytes > row.size_bytes:
            quotas.check_bytes(connection, tenant, quota, size_bytes - row.size_bytes)
        made = _update(connection, now_ms, tenant, upload_id, values)
        audit.write(connection, now_ms, audit.SERVICE, "upload.end", upload_id, decision="ready")
        return _record(made)


def refuse(db: Database, tenant: str, upload_id: str, problem: Problem) -> UploadRow:
    """The file cannot be used; its bytes go."""
    values = {"state": "refused", "problem": text_of(problem), "size_bytes": 0}
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        row = _update(connection, now_ms, tenant, upload_id, values)
        reasons = [problem.kind]
        audit.write(connection, now_ms, audit.SERVICE, "upload.end", upload_id, decision="refused", reasons=reasons)
        return _record(row)


def get(db: Database, tenant: str, upload_id: str) -> UploadRow:
    with db.look() as connection:
        return _record(_find(connection, tenant, upload_id))


def listed(db: Database, tenant: str, *, cursor: str | None = None, limit: int = 50) -> Page[UploadRow]:
    """The tenant's uploads, the newest first."""
    name = f"uploads {tenant}"
    asked = sql.select(tables.uploads).where(upload.tenant == tenant, upload.state != "gone")
    if cursor is not None:
        asked = asked.where(upload.id < read_cursor(name, cursor)[0])
    with db.look() as connection:
        rows = connection.execute(asked.order_by(upload.id.desc()).limit(limit + 1)).all()
    items = tuple(map(_record, rows[:limit]))
    return Page(items, make_cursor(name, items[-1].id) if len(rows) > limit else None)


def remove(db: Database, tenant: str, upload_id: str, *, actor: str = "") -> None:
    """Take the file away; `NotFound` from now on. `Conflict` while a job uses it that has not ended."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        _find(connection, tenant, upload_id, lock=True)
        users = sql.select(job.id).join(tables.job_uploads, bound.job == job.id)
        used = [bound.upload == upload_id, bound.unused_ms.is_(None)]
        busy = users.where(*used, job.state.not_in(sorted(ENDED))).order_by(job.id).limit(1)
        found = connection.execute(busy).scalar_one_or_none()
        if found is not None:
            raise Conflict("a job uses this upload", where=upload_id, hint=f"cancel {found}, or wait for its end")
        erasing.forget_upload(connection, now_ms, upload_id)
        audit.write(connection, now_ms, actor or tenant, "upload.remove", upload_id)


def _find(connection: Connection, tenant: str, upload_id: str, *, lock: bool = False) -> Row[Any]:
    asked = sql.select(tables.uploads).where(upload.id == upload_id, upload.tenant == tenant, upload.state != "gone")
    row = connection.execute(asked.with_for_update() if lock else asked).one_or_none()
    if row is None:
        raise NotFound("no such upload", where=upload_id[:80], hint="see the list of your uploads")
    return row


def _change(db: Database, tenant: str, upload_id: str, values: dict[str, Any]) -> UploadRow:
    with db.write() as connection:
        return _record(_update(connection, db.now_ms(connection), tenant, upload_id, values))


def _update(connection: Connection, now_ms: int, tenant: str, upload_id: str, values: dict[str, Any]) -> Row[Any]:
    """Change an upload that is open: in one statement, so that a removal meanwhile stays one."""
    change = (
        sql.update(tables.uploads)
        .where(upload.id == upload_id, upload.tenant == tenant, upload.state == "open")
        .values(changed_ms=now_ms, **values)
    )
    row = connection.execute(change.returning(tables.uploads)).one_or_none()
    if row is None:
        state = _find(connection, tenant, upload_id).state
        raise Conflict(f"the upload is {state} and takes nothing more", where=upload_id, hint="begin another one")
    return row


def _record(row: Row[Any]) -> UploadRow:
    values = dict(row._mapping)
    del values["files_gone_ms"]
    return UploadRow(**{**values, "media": json_of(values["media"]), "problem": problem_of(values["problem"])})
