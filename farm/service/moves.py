"""One statement a transition: the row changes where its state and its epoch allow it, or nothing does.

The statement also takes the event's number from the row. PostgreSQL keeps the row locked until the commit, and SQLite
the whole file, so the next number of a job is given only when the event of this one can be read: a reader that has
seen n has seen all below n, although transactions of other jobs commit in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sql
from sqlalchemy import ColumnElement, Connection, RowMapping
from sqlalchemy.dialects import postgresql, sqlite

from farm.service import tables
from farm.service.ids import new_id
from farm.service.records import EventKind
from farm.service.rows import json_of, text_of
from farm.service.states import FROM, WAITING, WORKING, JobState

jobs = tables.jobs.c
MOST_WAITING = 5000  # letters to one webhook: what nobody takes does not pile up for ever
NO_LEASE: dict[str, Any] = {"owner": "", "lease_ms": 0, "not_before_ms": 0, "segments_running": 0}


def is_in(states: Iterable[JobState]) -> ColumnElement[bool]:
    return jobs.state.in_(sorted(states))


def is_free(now_ms: int) -> ColumnElement[bool]:
    """No coordinator that lives holds the job."""
    return sql.or_(is_in(WAITING), sql.and_(is_in(WORKING), jobs.lease_ms < now_ms))


def change(
    connection: Connection,
    now_ms: int,
    where: Iterable[ColumnElement[bool]],
    values: dict[str, Any],
    *,
    events: int = 1,
) -> list[RowMapping]:
    """Change the jobs `where` holds of, with room for so many events each; what the rows are now."""
    statement = (
        sql.update(tables.jobs)
        .where(*where)
        .values(version=jobs.version + 1, last_seq=jobs.last_seq + events, changed_ms=now_ms, **values)
        .returning(tables.jobs)
    )
    return list(connection.execute(statement).mappings())


def move(
    connection: Connection,
    now_ms: int,
    to: JobState,
    where: Iterable[ColumnElement[bool]],
    values: dict[str, Any] | None = None,
) -> list[RowMapping]:
    """Carry the jobs `where` holds of to the state `to`, from those states alone from which the law lets them go."""
    rows = change(connection, now_ms, [*where, is_in(FROM[to])], {"state": to, **(values or {})})
    for row in rows:
        tell_state(connection, now_ms, row)
    return rows


def tell_state(connection: Connection, now_ms: int, row: RowMapping) -> None:
    """The event of a transition, and what webhooks are to be told of it."""
    data: dict[str, object] = {"state": row["state"], "attempt": row["attempt"]}
    if row["problem"] is not None:
        data["problem"] = json_of(row["problem"])
    tell(connection, now_ms, row, "state", data)
    _tell_webhooks(connection, now_ms, row, data)


def tell(
    connection: Connection, now_ms: int, row: RowMapping, kind: EventKind, data: dict[str, object], *, before: int = 0
) -> None:
    """Write the event for which `change` made room: the last one of `row`, or `before` it."""
    seq = row["last_seq"] - before
    values = {"job": row["id"], "seq": seq, "at_ms": now_ms, "kind": kind, "data": text_of(data)}
    connection.execute(sql.insert(tables.events), values)


def _tell_webhooks(connection: Connection, now_ms: int, row: RowMapping, data: dict[str, object]) -> None:
    hook, letter = tables.webhooks.c, tables.deliveries.c
    mine = sql.select(hook.id, hook.states).where(
        hook.tenant == row["tenant"], hook.off_ms.is_(None), hook.job.in_(["", row["id"]])
    )
    for webhook, states in connection.execute(mine).all():
        if states and row["state"] not in states.split(" "):
            continue
        waits = [letter.webhook == webhook, letter.state == sql.literal_column("'waiting'")]  # as the index has it
        some = sql.select(letter.id).where(*waits).limit(MOST_WAITING).subquery()
        full = int(connection.execute(sql.select(sql.func.count()).select_from(some)).scalar_one()) >= MOST_WAITING
        name = new_id("dlv")
        body = {
            "id": name,
            "type": f"job.{row['state']}",
            "at_ms": now_ms,
            "data": {"job": row["id"], "seq": row["last_seq"], "title": row["title"], **data},
        }
        connection.execute(
            sql.insert(tables.deliveries).values(
                id=name,
                webhook=webhook,
                tenant=row["tenant"],
                job=row["id"],
                seq=row["last_seq"],
                body=text_of(body),
                state="dead" if full else "waiting",
                tries=0,
                next_ms=now_ms,
                created_ms=now_ms,
                last_status=None,
                last_error=f"{MOST_WAITING} letters wait for this webhook already" if full else "",
            )
        )


def insert(connection: Connection, table: sql.Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, which both databases write the same way."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
