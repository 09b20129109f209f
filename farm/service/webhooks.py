"""Where tenants want to hear of their jobs. farm.service.moves notes in each transition's own transaction what is to be
told; farm.service.posting tells it."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Connection, Row

from farm.service import audit, quotas, tables
from farm.service.database import Database
from farm.service.errors import Conflict, NotFound
from farm.service.guard import STRICT, Rules, check_url
from farm.service.ids import make_cursor, new_id, read_cursor
from farm.service.jobs import find
from farm.service.records import DeliveryRow, Page, WebhookRow
from farm.service.states import JobState

hook, delivery = tables.webhooks.c, tables.deliveries.c
SECRET_BYTES = 32
MOST_OF_TENANT = 32  # that hear of every job
MOST_OF_JOB = 8
MOST = 1000  # of a tenant in all; those of jobs that succeeded go by themselves


def make(
    db: Database,
    tenant: str,
    url: str,
    *,
    job: str = "",
    states: Collection[JobState] = (),
    rules: Rules = STRICT,
    actor: str = "",
) -> tuple[WebhookRow, str]:
    """A webhook, and the secret that signs what it is sent: `whsec_` and base64url, shown once.

    `InputError` for an address that no webhook may have (see farm.service.guard), `NotFound` for a job that is not the
    tenant's, `Conflict` for too many.
    """
    check_url(url, rules)
    secret = f"whsec_{secrets.token_urlsafe(SECRET_BYTES)}"
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        quotas.lock_tenant(connection, tenant)
        if job:
            find(connection, tenant, job)
        _check_room(connection, tenant, job)
        statement = sql.insert(tables.webhooks).values(
            id=new_id("hook"),
            tenant=tenant,
            url=url,
            secret=secret,
            job=job,
            states=" ".join(sorted(set(states))),
            created_ms=now_ms,
            off_ms=None,
        )
        row = _record(connection.execute(statement.returning(tables.webhooks)).one())
        audit.write(connection, now_ms, actor or tenant, "webhook.make", row.id)
    return row, secret


def listed(db: Database, tenant: str) -> tuple[WebhookRow, ...]:
    """The tenant's webhooks, the oldest first."""
    asked = sql.select(tables.webhooks).where(hook.tenant == tenant, hook.off_ms.is_(None)).order_by(hook.id)
    with db.look() as connection:
        return tuple(map(_record, connection.execute(asked)))


def remove(db: Database, tenant: str, webhook_id: str, *, actor: str = "") -> None:
    """Tell this webhook nothing more; what waits for it is dropped, and its address and secret are forgotten."""
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        change = (
            sql.update(tables.webhooks)
            .where(hook.id == webhook_id, hook.tenant == tenant, hook.off_ms.is_(None))
            .values(off_ms=now_ms, url="", secret="")
        )
        if connection.execute(change).rowcount != 1:
            raise NotFound("no such webhook", where=webhook_id[:80])
        drop(connection, webhook_id, "the webhook was removed")
        audit.write(connection, now_ms, actor or tenant, "webhook.remove", webhook_id)


def deliveries(
    db: Database, tenant: str, *, webhook: str | None = None, cursor: str | None = None, limit: int = 50
) -> Page[DeliveryRow]:
    """What was told, or is to be, the newest first."""
    name = f"deliveries {tenant} {webhook}"
    asked = sql.select(tables.deliveries).where(delivery.tenant == tenant)
    if webhook is not None:
        asked = asked.where(delivery.webhook == webhook)
    if cursor is not None:
        asked = asked.where(delivery.id < read_cursor(name, cursor)[0])
    with db.look() as connection:
        rows = connection.execute(asked.order_by(delivery.id.desc()).limit(limit + 1)).all()
    items = tuple(map(_delivery, rows[:limit]))
    return Page(items, make_cursor(name, items[-1].id) if len(rows) > limit else None)


def _check_room(connection: Connection, tenant: str, job: str) -> None:
    """`Conflict` where there are too many: every transition writes a letter for each that hears of it."""
    mine = sql.select(sql.func.count()).where(hook.tenant == tenant, hook.off_ms.is_(None))
    alike = int(connection.execute(mine.where(hook.job == job)).scalar_one())
    most = MOST_OF_JOB if job else MOST_OF_TENANT
    if alike >= most:
        raise Conflict(f"there are {most} webhooks already{' of this job' if job else ''}", hint="remove one")
    if int(connection.execute(mine).scalar_one()) >= MOST:
        raise Conflict(f"there are {MOST} webhooks already", hint="remove some, or take one for all jobs")


def drop(connection: Connection, webhook: str, why: str) -> None:
    """What waits for a webhook that is off is dead."""
    waits = [delivery.webhook == webhook, delivery.state == "waiting"]
    connection.execute(sql.update(tables.deliveries).where(*waits).values(state="dead", last_error=why))


def _record(row: Row[Any]) -> WebhookRow:
    states = tuple(JobState(state) for state in row.states.split(" ") if state)
    return WebhookRow(row.id, row.tenant, row.url, row.job, states, row.created_ms, row.off_ms)


def _delivery(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(
        id=row.id,
        webhook=row.webhook,
        tenant=row.tenant,
        job=row.job,
        seq=row.seq,
        state=row.state,
        tries=row.tries,
        next_ms=row.next_ms,
        last_status=row.last_status,
        last_error=row.last_error,
    )
