"""Idempotency keys: what a request made, so that the same request again makes nothing more."""

from __future__ import annotations

import sqlalchemy as sql
from sqlalchemy import Connection

from farm.service import tables
from farm.service.errors import KeyReused
from farm.service.moves import insert

known = tables.idempotency.c
CLAIMS = 10  # of a key, as long as what was made with it is erased meanwhile


def claim(connection: Connection, now_ms: int, tenant: str, name: str, request_sha256: str, made: str) -> bool:
    """Whether the key was free, and is that of `made`, a job or an upload, from now on."""
    values = {"tenant": tenant, "name": name, "request_sha256": request_sha256, "job": made, "created_ms": now_ms}
    statement = insert(connection, tables.idempotency).on_conflict_do_nothing()
    return connection.execute(statement.returning(known.job), values).first() is not None


def made_with(connection: Connection, tenant: str, name: str, request_sha256: str) -> str | None:
    """What the key made; None where it is free, `KeyReused` where it was another request's."""
    asked = sql.select(known.job, known.request_sha256).where(known.tenant == tenant, known.name == name)
    earlier = connection.execute(asked).one_or_none()
    if earlier is None:
        return None
    if earlier.request_sha256 != request_sha256:
        raise KeyReused(
            "this idempotency key was used for another request",
            where=name[:80],
            hint="take a new key for a new request, and the same body for the same one",
        )
    return str(earlier.job)
