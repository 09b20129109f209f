"""The audit: lines that are only ever added, each with the hash of the one before, so that an edit shows.

`hash` is the SHA-256 of the line's JSON without `hash` and with `prev_hash`, "" in the first. What is personal is
named by id alone.

Lines that are older than they are kept go from the beginning, never from between; a line `audit.trim` says which was
the last of them, and its hash, which the first that is there has as `prev_hash`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import takewhile

import sqlalchemy as sql
from sqlalchemy import Connection, Row

from core.codec import decode, digest
from core.errors import StorageError
from farm.service import tables
from farm.service.database import Database
from farm.service.ids import cursor_number, make_cursor, read_cursor
from farm.service.records import AuditRow, Page
from farm.service.rows import text_of

line = tables.audit.c
COORDINATOR = "coordinator"  # who ends jobs
SERVICE = "service"  # who looks at uploads
LOCK = 0x61756469  # "audi": PostgreSQL's advisory lock of the chain's end
BATCH = 1000
TRIM = "audit.trim"
TRIM_BATCH = 5000
DAY_MS = 86_400_000


def write(
    connection: Connection,
    now_ms: int,
    actor: str,
    action: str,
    thing: str,
    *,
    decision: str = "done",
    reasons: Sequence[str] = (),
) -> None:
    """Add a line, in the transaction of what it tells of: it is there if and only if that happened.

    The last statement of its transaction: what locks rows after the chain's end is locked could wait for another that
    waits for the chain.
    """
    if connection.dialect.name == "postgresql":  # SQLite writes one transaction at a time anyway
        connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK)))
    last = connection.execute(sql.select(line.seq, line.hash).order_by(line.seq.desc()).limit(1)).first()
    seq, before = (last.seq + 1, last.hash) if last is not None else (1, "")
    made = AuditRow(seq, now_ms, actor, action, thing, decision, tuple(reasons), before, "")
    values = {**asdict(made), "reasons": text_of(made.reasons), "hash": hash_of(made)}
    connection.execute(sql.insert(tables.audit), values)


def write_end(
    connection: Connection, now_ms: int, actor: str, job: str, state: str, reasons: Sequence[str] = ()
) -> None:
    """The line of a job that ended."""
    write(connection, now_ms, actor, "job.end", job, decision=state, reasons=reasons)


def note(db: Database, actor: str, action: str, thing: str) -> None:
    """Add a line about what changes nothing else, as an address of a result that was given."""
    with db.write() as connection:
        write(connection, db.now_ms(connection), actor, action, thing)


def hash_of(row: AuditRow) -> str:
    return digest(replace(row, hash=""))


def listed(db: Database, *, cursor: str | None = None, limit: int = 100) -> Page[AuditRow]:
    """The lines, the newest first."""
    asked = sql.select(tables.audit)
    if cursor is not None:
        asked = asked.where(line.seq < cursor_number(read_cursor("audit", cursor)[0]))
    with db.look() as connection:
        rows = connection.execute(asked.order_by(line.seq.desc()).limit(limit + 1)).all()
    items = tuple(map(_record, rows[:limit]))
    return Page(items, make_cursor("audit", str(items[-1].seq)) if len(rows) > limit else None)


def check(db: Database) -> int:
    """How many lines there are; `StorageError` names the first that was edited, removed or put in between."""
    seq, before, count = 0, "", 0
    begin: tuple[str, str] | None = None  # the line before the first, as the line that tells of its end names it
    told = False
    while True:
        with db.look() as connection:
            asked = sql.select(tables.audit).where(line.seq > seq).order_by(line.seq).limit(BATCH)
            rows = [_record(row) for row in connection.execute(asked)]
        for row in rows:
            if not count and row.seq > 1:
                seq, before = row.seq - 1, row.prev_hash
                begin = (str(seq), before)
            count += 1
            told = told or (row.action == TRIM and (row.object, *row.reasons) == begin)
            if row.seq != seq + 1 or row.prev_hash != before or row.hash != hash_of(row):
                raise StorageError(f"the audit was edited at line {seq + 1}", where=db.where)
            seq, before = row.seq, row.hash
        if not rows:
            break
    if begin is not None and not told:
        raise StorageError(f"lines before line {int(begin[0]) + 1} of the audit were removed", where=db.where)
    return count


def trim(db: Database, actor: str, keep_s: int) -> int:
    """Remove lines that are older than `keep_s`, at most so many at once, when the oldest is so for a day: so there is
    one line a day about it. How many went."""
    with db.read() as connection:
        first_ms = connection.execute(sql.select(line.at_ms).order_by(line.seq).limit(1)).scalar()
        if first_ms is None or first_ms >= db.now_ms(connection) - 1000 * keep_s - DAY_MS:
            return 0
    with db.write() as connection:
        now_ms = db.now_ms(connection)
        limit_ms = now_ms - 1000 * keep_s
        last = sql.select(sql.func.max(line.seq)).scalar_subquery()
        asked = sql.select(line.seq, line.at_ms, line.hash).where(line.seq < last).order_by(line.seq).limit(TRIM_BATCH)
        rows = connection.execute(asked).all()
        old = list(takewhile(lambda row: row.at_ms < limit_ms, rows))
        if not old:  # the chain's end is what the next line goes on from
            return 0
        connection.execute(sql.delete(tables.audit).where(line.seq <= old[-1].seq))
        write(connection, now_ms, actor, TRIM, str(old[-1].seq), reasons=[old[-1].hash])
        return len(old)


def _record(row: Row[tuple[object, ...]]) -> AuditRow:
    values = dict(row._mapping)
    return AuditRow(**{**values, "reasons": decode(values["reasons"].encode(), tuple[str, ...])})
