"""Tenants and their keys.

A key is `farm_<prefix>_<secret>`: 256 random bits as 43 letters of base64url, behind 10 letters that name the row. Only
the SHA-256 of the whole text is kept: with 256 bits of chance a slow hash would guard nothing more.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from functools import cache
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Row

from core.codec import decode
from core.errors import InputError
from farm.service import audit, quotas, tables
from farm.service.database import Database
from farm.service.errors import Conflict, NoKey, NotFound
from farm.service.ids import ALPHABET, new_id
from farm.service.moves import insert
from farm.service.records import SCOPES, KeyRow, NewKey, Scope, TenantQuota, TenantRow, TenantUse
from farm.service.rows import text_of

key, tenant_of = tables.api_keys.c, tables.tenants.c
PREFIX_LETTERS = 10
SECRET_BYTES = 32
FORM = re.compile(rf"farm_([{ALPHABET}]{{{PREFIX_LETTERS}}})_[A-Za-z0-9_-]{{43}}")
USED_EVERY_MS = 60_000
NOBODY = "0" * 64  # no text has this hash that anybody knows
NO_QUOTA = TenantQuota()
TENANT_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def make_tenant(
    db: Database, name: str, quota: TenantQuota = NO_QUOTA, *, tenant_id: str | None = None, actor: str = ""
) -> TenantRow:
    """A new tenant. `Conflict` where `tenant_id` is taken."""
    made = tenant_id if tenant_id is not None else new_id("ten").replace("_", "-")
    if TENANT_ID.fullmatch(made) is None:
        raise InputError(f"{made!r} is no tenant's id", hint="write a to z, 0 to 9 and hyphens, 63 at most")
    check_quota(quota)
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        values = {"id": made, "name": name, "quota": text_of(quota), "created_ms": now_ms}
        statement = insert(connection, tables.tenants).values(values).on_conflict_do_nothing()
        if connection.execute(statement.returning(tenant_of.id)).first() is None:
            raise Conflict("this tenant is there already", where=made)
        audit.write(connection, now_ms, actor or "operator", "tenant.make", made)
    return TenantRow(made, name, quota, now_ms)


def check_quota(quota: TenantQuota) -> None:
    for name in quota.__dataclass_fields__:
        value = getattr(quota, name)
        if value is not None and value < 0:
            raise InputError(f"the quota {name} is below 0")


def tenant(db: Database, tenant_id: str) -> TenantRow:
    with db.look() as connection:
        row = connection.execute(sql.select(tables.tenants).where(tenant_of.id == tenant_id)).one_or_none()
    if row is None:
        raise NotFound("no such tenant", where=tenant_id[:80])
    return _tenant(row)


def tenants(db: Database) -> tuple[TenantRow, ...]:
    with db.look() as connection:
        return tuple(map(_tenant, connection.execute(sql.select(tables.tenants).order_by(tenant_of.id))))


def set_quota(db: Database, tenant_id: str, quota: TenantQuota, *, actor: str = "") -> TenantRow:
    """Another quota for what comes; what runs goes on."""
    check_quota(quota)
    change = sql.update(tables.tenants).where(tenant_of.id == tenant_id).values(quota=text_of(quota))
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        row = connection.execute(change.returning(tables.tenants)).one_or_none()
        if row is None:
            raise NotFound("no such tenant", where=tenant_id[:80])
        audit.write(connection, now_ms, actor or "operator", "tenant.quota", tenant_id)
    return _tenant(row)


def use_of(db: Database, tenant_id: str) -> TenantUse:
    """What counts against the tenant's quota now."""
    with db.read() as connection:
        return quotas.used(connection, db.now_ms(connection), tenant_id)


# ------------------------------------------------------------ keys


def make_key(
    db: Database,
    tenant_id: str,
    name: str,
    scopes: Collection[Scope],
    *,
    expires_ms: int | None = None,
    actor: str = "",
    secret: str = "",
) -> NewKey:
    """A new key; its secret is in the answer and nowhere else. `secret` is one of `new_secret` that was kept before:
    `Conflict` where it is a key already."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise InputError(f"{unknown[0]!r} is no scope" if unknown else "no scope", hint=f"one of {', '.join(SCOPES)}")
    secret = secret or new_secret()
    form = FORM.fullmatch(secret)
    if form is None:
        raise InputError("this is no secret of a key")
    made = form.group(1)
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quotas.lock_tenant(connection, tenant_id)
        statement = insert(connection, tables.api_keys).values(
            id=made,
            tenant=tenant_id,
            name=name,
            sha256=_hash(secret),
            scopes=" ".join(scope for scope in SCOPES if scope in scopes),
            created_ms=now_ms,
            expires_ms=expires_ms,
            revoked_ms=None,
            used_ms=None,
        )
        row = connection.execute(statement.on_conflict_do_nothing().returning(tables.api_keys)).one_or_none()
        if row is None:
            raise Conflict("this key is there already", where=made)
        audit.write(connection, now_ms, actor or "operator", "key.make", made)
    return NewKey(_key(row), secret)


def new_secret() -> str:
    """The text of a key that nobody has."""
    made = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LETTERS))
    return f"farm_{made}_{secrets.token_urlsafe(SECRET_BYTES)}"


def check_key(db: Database, secret: str) -> KeyRow:
    """The key that `secret` is. `NoKey`, in the same words, for one that is unknown, altered, revoked or expired.

    The row is found by the public prefix, the rest compared in constant time, with a hash of nobody's where there is
    no row.
    """
    form = FORM.fullmatch(secret)
    with db.look() as connection:
        wanted = {"key_id": form.group(1) if form else "", **db.given()}
        row = connection.execute(_by_id(db.now), wanted).one_or_none()
    same = hmac.compare_digest(_hash(secret), row.sha256 if row is not None else NOBODY)
    over = row is None or row.revoked_ms is not None or (row.expires_ms is not None and row.expires_ms <= row.at_ms)
    if row is None or over or not same:
        raise NoKey("no key, or one that is not valid (any more)", hint="send Authorization: Bearer farm_...")
    if row.used_ms is None or row.used_ms < row.at_ms - USED_EVERY_MS:
        with db.alone(f"key {row.id}") as mine:  # or all calls of that moment would wait to write the same
            if mine:
                with db.write() as connection:
                    connection.execute(sql.update(tables.api_keys).where(key.id == row.id).values(used_ms=row.at_ms))
    return _key(row)


@cache
def _by_id(now: sql.ColumnElement[int]) -> sql.Select[Any]:
    """To build a statement takes longer than to have it answered, and each call has a key."""
    return sql.select(tables.api_keys, now.label("at_ms")).where(key.id == sql.bindparam("key_id"))


def valid_hashes(db: Database) -> frozenset[bytes]:
    """The SHA-256 of every key that is valid, of all tenants."""
    with db.look() as connection:
        lasts = sql.or_(key.expires_ms.is_(None), key.expires_ms > db.now)
        asked = sql.select(key.sha256).where(key.revoked_ms.is_(None), lasts)
        found = connection.execute(asked, db.given()).scalars()
        return frozenset(bytes.fromhex(one) for one in found)


def listed(db: Database, tenant_id: str) -> tuple[KeyRow, ...]:
    """The tenant's keys, those that are over too."""
    asked = sql.select(tables.api_keys).where(key.tenant == tenant_id).order_by(key.created_ms, key.id)
    with db.look() as connection:
        return tuple(map(_key, connection.execute(asked)))


def revoke(db: Database, tenant_id: str, key_id: str, *, actor: str = "") -> KeyRow:
    """End a key now. Idempotent."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        change = (
            sql.update(tables.api_keys)
            .where(key.id == key_id, key.tenant == tenant_id)
            .values(revoked_ms=sql.func.coalesce(key.revoked_ms, now_ms))
        )
        row = connection.execute(change.returning(tables.api_keys)).one_or_none()
        if row is None:
            raise NotFound("no such key", where=key_id[:80])
        audit.write(connection, now_ms, actor or tenant_id, "key.revoke", key_id)
    return _key(row)


def any_key(db: Database) -> bool:
    """Whether there is a key at all: the first start of a service makes one."""
    with db.look() as connection:
        return connection.execute(sql.select(key.id).limit(1)).first() is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: Row[tuple[object, ...]]) -> KeyRow:
    values = {name: value for name, value in row._mapping.items() if name not in {"sha256", "at_ms"}}
    return KeyRow(**{**values, "scopes": tuple(values["scopes"].split(" "))})


def _tenant(row: Row[tuple[object, ...]]) -> TenantRow:
    values = dict(row._mapping)
    return TenantRow(**{**values, "quota": decode(values["quota"].encode(), TenantQuota)})
